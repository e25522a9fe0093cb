"""Radial basis function networks: Gaussian kernels around centres, then a linear map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Generator, Tensor, nn

from dlrun.architectures.blocks import Blocks
from dlrun.architectures.gng import growing_neural_gas
from dlrun.errors import ConfigError

Centres = Literal["uniform", "random", "kmeans", "gng", "samples"]

LARGEST = 10**7  #: numbers in the centres: 40 MB, and as much again for the gradient and for each optimizer state


class RBF(nn.Module):
    r"""$y = W \phi(x) + b$ with kernels $\phi_j(x) = \exp(-\|x - \mu_j\|^2 / (2 \sigma_j^2))$; inputs are flattened.

    Centres $\mu$ and logarithms of the widths $\sigma$ are parameters beside the head's W and b, and start where the
    training inputs say; initializers and penalties on weights concern the head alone.

    Args:
        kernels: how many; of no use to centres=samples.
        centres: uniform (drawn in the box around the training inputs), random (training inputs drawn without
            repetition), kmeans (Lloyd's algorithm from k-means++), gng (growing neural gas) or samples (all of them).
        width: $\sigma$ of every kernel at the start, or nearest: the distance to the nearest other centre.
        learn_widths: whether widths train wherever centres do.
        phases: see `phases`.
        train_inputs: (samples, *shape).
        random: what is drawn, is drawn from here.

    Raises ConfigError where the training inputs are too few, and where they are too many to be kernels each.

    Reference: Broomhead & Lowe 1988; Schwenker et al. 2001, doi:10.1016/S0893-6080(01)00027-2 (phases, centres);
    Moody & Darken 1989, doi:10.1162/neco.1989.1.2.281 (nearest neighbours); lecture 002.
    """

    def __init__(
        self,
        shape: Sequence[int],
        outputs: int,
        blocks: Blocks,
        kernels: int,
        centres: Centres,
        width: float | Literal["nearest"],
        learn_widths: bool,
        phases: int,
        train_inputs: Tensor,
        random: Generator,
    ) -> None:
        super().__init__()
        blocks.refuse_normalization("rbf")
        self.input = nn.Sequential(nn.Flatten(), *blocks.input())
        points = place(centres, kernels, train_inputs.flatten(1), random)
        widths = nearest(points) if width == "nearest" else torch.full((len(points),), float(width))
        self.centres = nn.Parameter(points.to(torch.get_default_dtype()))
        self.log_widths = nn.Parameter(widths.log().to(torch.get_default_dtype()))
        self.head = nn.Linear(len(points), outputs)
        self.kernels = Kernels()
        self.learn_widths = learn_widths
        self.phase_sets = self.phases(phases)

    @staticmethod
    def of_saved(saved: Mapping[str, Tensor]) -> dict[str, Any]:
        """The options by which a network has as many kernels as saved tensors have, whatever the data."""
        centres = saved.get("centres", torch.zeros(0, 0))
        return {"centres": "samples", "width": 1.0, "train_inputs": centres}

    def phases(self, phases: int) -> list[set[str]]:
        """The names of the parameters that train in each phase.

        1: all at once. 2: the centres and widths were the first phase, the head alone is the second. 3: the head,
        then all.
        """
        names = {name for name, _ in self.named_parameters()}
        everything = names if self.learn_widths else names - {"log_widths"}
        head = {name for name in names if name.startswith("head.")}
        return {1: [everything], 2: [head], 3: [head, everything]}[phases]

    def forward(self, x: Tensor) -> Tensor:
        x = self.input(x)
        # ||x||² - 2 x·mu + ||mu||²: all differences at once would take batch x kernels x features numbers;
        # counted from the middle of the centres, so that the squares are small and so is their rounding
        middle = self.centres.detach().mean(0)
        x, centres = x - middle, self.centres - middle
        square = x.square().sum(1, keepdim=True) - 2 * x @ centres.T + centres.square().sum(1)
        return self.head(self.kernels(square, self.log_widths))


class Kernels(nn.Module):
    r"""$\exp(-r^2 / (2 \sigma^2))$ of squared distances, (batch, kernels), and the widths' logarithms, (kernels,)."""

    def forward(self, square: Tensor, log_widths: Tensor) -> Tensor:
        return torch.exp(-square.clamp(min=0) / (2 * torch.exp(2 * log_widths)))


def place(centres: Centres, kernels: int, inputs: Tensor, random: Generator) -> Tensor:
    """(kernels, features): centres for inputs (samples, features); ConfigError where there cannot be so many."""
    samples, features = inputs.shape
    count = samples if centres == "samples" else kernels
    if count * features > LARGEST:
        remedy = "architecture.centres=kmeans" if centres == "samples" else "fewer architecture.kernels"
        raise ConfigError(
            f"architecture.centres={centres}: {count:,} kernels of {features:,} numbers each are more than the "
            f"{LARGEST:,} numbers that an RBF network may hold: choose {remedy}, or smaller data"
        )
    if centres in ("random", "kmeans", "gng") and kernels > samples:
        raise ConfigError(
            f"architecture.kernels={kernels}: architecture.centres={centres} takes no more kernels than there are "
            f"training samples, {samples}: give fewer, or architecture.centres=uniform"
        )
    if centres == "samples":
        return inputs.clone()
    if centres == "uniform":
        low, high = inputs.amin(0), inputs.amax(0)
        return low + (high - low) * torch.rand(kernels, features, generator=random)
    if centres == "random":
        return inputs[torch.randperm(samples, generator=random)[:kernels]]
    return k_means(inputs, kernels, random) if centres == "kmeans" else neural_gas(inputs, kernels, random)


def k_means(inputs: Tensor, kernels: int, random: Generator) -> Tensor:
    """Lloyd's algorithm from k-means++ (Arthur & Vassilvitskii 2007)."""
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    seed = int(torch.randint(2**31, (), generator=random))
    with threadpool_limits(1):  # several threads add up in whatever order they end
        fitted = KMeans(kernels, init="k-means++", n_init=1, random_state=seed).fit(inputs.double().numpy())
    return torch.from_numpy(fitted.cluster_centers_)


def neural_gas(inputs: Tensor, kernels: int, random: Generator) -> Tensor:
    """Growing neural gas, of exactly this many units."""
    if kernels < 2:
        raise ConfigError(f"architecture.kernels={kernels}: architecture.centres=gng starts with two: give 2 or more")
    units = torch.from_numpy(growing_neural_gas(inputs, kernels, random))
    if len(units) < kernels:
        raise ConfigError(
            f"architecture.kernels={kernels}: architecture.centres=gng could keep only {len(units)} in these data: "
            "give fewer, or architecture.centres=kmeans"
        )
    return units


def nearest(centres: Tensor) -> Tensor:
    """(kernels,): each centre's distance to the nearest one that stands elsewhere."""
    distances = torch.cdist(centres.double(), centres.double())
    distances[distances == 0] = torch.inf
    widths = distances.amin(1)
    if widths.isinf().any():
        raise ConfigError(
            "architecture.width=nearest needs two different centres: give a number, or more architecture.kernels"
        )
    return widths
