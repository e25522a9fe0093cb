"""Losses per sample, and which task each fits."""

from __future__ import annotations

from math import log, pi

import torch
import torch.nn.functional as F
from torch import Tensor

from dlrun.datasets.data import Surface, Task
from dlrun.datasets.dataset import Dataset
from dlrun.errors import ConfigError


class Loss:
    """A function of outputs (..., batch, outputs) and targets that returns one number per sample, (..., batch).

    Targets are classes (..., batch), or their probabilities (..., batch, classes); 0/1 (..., batch), or the probability
    of 1; numbers (..., batch, outputs). The axes before are runs', if there are any.
    """

    name: str
    tasks: tuple[Task, ...]
    probabilistic = True  #: softmax or sigmoid of the outputs means probabilities, where the task is to classify

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        raise NotImplementedError

    def for_dataset(self, dataset: Dataset) -> Loss:
        """The loss to use for a dataset; ConfigError where it does not fit the task."""
        if dataset.task == "none":
            raise ConfigError(
                f"loss={self.name} compares outputs with targets, and a test function has none: loss=auto"
            )
        if dataset.task not in self.tasks:
            fitting = ", ".join(cls.name for cls in BY_TASK[dataset.task])
            raise ConfigError(
                f"loss={self.name} is for {' or '.join(self.tasks)} targets, and this dataset's are {dataset.task}: "
                f"choose one of {fitting}, or leave loss=auto"
            )
        return self

    def outputs(self, n: int) -> int:
        """How many numbers the network has to put out where the dataset asks for n."""
        return n

    def combine(self, outputs: Tensor, weight: Tensor) -> Tensor:
        """The outputs (runs, batch, outputs) whose prediction is the mean of those of several networks.

        outputs: (runs, members, batch, outputs). weight: (runs, members), with a positive sum in each row.
        """
        share = weight / weight.sum(1, keepdim=True)
        return (share[:, :, None, None] * outputs).sum(1)

    def prediction(self, outputs: Tensor) -> Tensor:
        """What the metrics compare with the targets, (..., batch, n)."""
        return outputs

    def deviation(self, outputs: Tensor) -> Tensor | None:
        """The standard deviation that the network gives of each prediction, (..., batch, n), if it gives one."""
        return None

    def in_unit(self, outputs: Tensor, targets: Tensor, unit: Tensor) -> Tensor:
        """The loss of a regression in the targets' own unit, where outputs and targets are standardised, (..., batch).

        unit: their standard deviations, (..., 1, n). Unless a loss says otherwise, it is that of outputs and targets
        both times these: what it would be for the targets as they were.
        """
        return self(outputs * unit, targets * unit)


class CrossEntropy(Loss):
    r"""$L = -\log \text{softmax}(f)_y$; with targets (batch, classes), $L = -\sum_k t_k \log \text{softmax}(f)_k$.

    Reference: lectures 002, 003.
    """

    name = "cross_entropy"
    tasks = ("multiclass",)

    def combine(self, outputs: Tensor, weight: Tensor) -> Tensor:
        """Logarithms of the mean probabilities, which softmax turns into them again."""
        return _log_mean_exp(outputs.log_softmax(3), weight)

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        # Classes before samples: PyTorch's softmax over the last of a few numbers is no vector operation, and takes ten
        # times longer.
        targets = targets.movedim(-1, 1) if targets.ndim == outputs.ndim else targets
        return F.cross_entropy(outputs.movedim(-1, 1), targets, reduction="none")


class BinaryCrossEntropy(Loss):
    r"""$L = -y \log \sigma(f) - (1-y) \log(1 - \sigma(f))$ for one output f and y in [0, 1].

    Reference: lecture 002.
    """

    name = "binary_cross_entropy"
    tasks = ("binary",)

    def combine(self, outputs: Tensor, weight: Tensor) -> Tensor:
        """The logit of the mean probability."""
        return _log_mean_exp(F.logsigmoid(outputs), weight) - _log_mean_exp(F.logsigmoid(-outputs), weight)

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(outputs.squeeze(-1), targets, reduction="none")


class MSE(Loss):
    r"""$L = \frac{1}{m} \sum_{j=1}^m (p_j - y_j)^2$ over m outputs.

    $p = f$ for a regression; $p = \sigma(f)$ for binary targets; $p = \text{softmax}(f)$ against one-hot y for
    classes. A sigmoid that is wrong and saturated has next to no gradient: the plateau of lecture 004.

    Where dataset.scale_target standardises a regression's targets, that is what is minimised; what is reported is
    $\frac{1}{m} \sum_j \sigma_j^2 (p_j - y_j)^2$ with their standard deviations $\sigma_j$, in the square of the
    targets' own unit. An autoencoder's targets are its inputs as dataset.scale leaves them.

    Reference: lectures 002, 003, 004; Brier 1950 for probabilities.
    """

    name = "mse"
    tasks = ("regression", "binary", "multiclass")

    def __init__(self, task: Task = "regression") -> None:
        self.task = task

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if self.task == "binary":
            return (outputs.squeeze(-1).sigmoid() - targets).square()
        if self.task == "multiclass":
            outputs = outputs.softmax(-1)
            if targets.ndim < outputs.ndim:
                targets = (targets[..., None] == torch.arange(outputs.shape[-1], device=targets.device)).to(outputs)
        return (outputs - targets).square().mean(-1)

    def for_dataset(self, dataset: Dataset) -> Loss:
        super().for_dataset(dataset)
        return MSE(dataset.task)

    def combine(self, outputs: Tensor, weight: Tensor) -> Tensor:
        """As the loss of the task that means probabilities, or the mean."""
        usual = {"multiclass": CrossEntropy, "binary": BinaryCrossEntropy, "regression": Loss}[self.task]
        return usual().combine(outputs, weight)


class Huber(Loss):
    r"""$L = \frac{1}{m} \sum_{j=1}^m h(f_j - y_j)$, squared near zero and linear beyond $\delta$.

    $$h(e) = \tfrac12 e^2 \text{ where } |e| \le \delta, \quad \delta (|e| - \tfrac12 \delta) \text{ elsewhere}$$

    Where dataset.scale_target standardises the targets, f and y are standardised; what is reported is
    $\frac{1}{m} \sum_j \sigma_j^2 h(f_j - y_j)$ with their standard deviations $\sigma_j$: the Huber loss in the
    targets' own unit, linear from $\delta \sigma_j$ on.

    Args:
        delta: in standard deviations where the targets are standardised, else in their own unit.

    Reference: Huber 1964, doi:10.1214/aoms/1177703732; torch.nn.HuberLoss.
    """

    name = "huber"
    tasks = ("regression",)

    def __init__(self, delta: float) -> None:
        self.delta = delta

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self._by_output(outputs, targets).mean(-1)

    def in_unit(self, outputs: Tensor, targets: Tensor, unit: Tensor) -> Tensor:
        return (unit.square() * self._by_output(outputs, targets)).mean(-1)

    def _by_output(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.huber_loss(outputs, targets, reduction="none", delta=self.delta)


class GaussianNLL(Loss):
    r"""$L = \frac{1}{m} \sum_{j=1}^m \frac12 \left(s_j + e^{-s_j} (\mu_j - y_j)^2 + \log 2\pi\right)$ for m targets.

    The network puts out m means $\mu$, then m log-variances s; the metrics take the means.

    Where dataset.scale_target standardises the targets, $\frac{1}{m} \sum_j \log \sigma_j$ of their standard
    deviations is added to what is reported, which makes it the likelihood of the targets in their own unit.

    Reference: Nix & Weigend 1994, doi:10.1109/ICNN.1994.374138; lecture 003 (maximum likelihood).
    """

    name = "gaussian_nll"
    tasks = ("regression",)

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        mean, log_variance = outputs.chunk(2, dim=-1)
        return (log_variance + (mean - targets).square() * (-log_variance).exp() + log(2 * pi)).mean(-1) / 2

    def in_unit(self, outputs: Tensor, targets: Tensor, unit: Tensor) -> Tensor:
        return self(outputs, targets) + unit.log().mean(-1)

    def combine(self, outputs: Tensor, weight: Tensor) -> Tensor:
        """Mean and log-variance of the mixture (Lakshminarayanan et al. 2017, arXiv:1612.01474)."""
        mean, log_variance = outputs.chunk(2, dim=3)
        center = super().combine(mean, weight)
        variance = super().combine(log_variance.exp() + (mean - center[:, None]).square(), weight)
        return torch.cat([center, variance.log()], 2)

    def outputs(self, n: int) -> int:
        return 2 * n

    def prediction(self, outputs: Tensor) -> Tensor:
        return outputs.chunk(2, dim=-1)[0]

    def deviation(self, outputs: Tensor) -> Tensor:
        return (outputs.chunk(2, dim=-1)[1] / 2).exp()


class Margin(Loss):
    """A function of the margin $t f$, with t = 2y - 1 in {-1, 1}; f says which class, and no probability."""

    tasks = ("binary",)
    probabilistic = False

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.of_margin((2 * targets - 1) * outputs.squeeze(-1))

    def of_margin(self, margin: Tensor) -> Tensor:
        """(..., batch) to (..., batch)."""
        raise NotImplementedError


class Hinge(Margin):
    r"""$L = \max(0, 1 - t f)$ with t = 2y - 1 in {-1, 1}.

    Reference: lecture 004 (surrogate losses).
    """

    name = "hinge"

    def of_margin(self, margin: Tensor) -> Tensor:
        return torch.relu(1 - margin)


class SquaredHinge(Margin):
    r"""$L = \max(0, 1 - t f)^2$ with t = 2y - 1 in {-1, 1}.

    Reference: Tang 2013, arXiv:1306.0239.
    """

    name = "squared_hinge"

    def of_margin(self, margin: Tensor) -> Tensor:
        return torch.relu(1 - margin).square()


class Square(Margin):
    r"""$L = (1 - t f)^2$ with t = 2y - 1 in {-1, 1}: also what is right by more than 1 costs.

    Reference: lecture 004 (surrogate losses).
    """

    name = "square"

    def of_margin(self, margin: Tensor) -> Tensor:
        return (1 - margin).square()


class Height(Loss):
    r"""$L = f(\theta)$, a test function's value where the parameters are. Reference: lecture 004."""

    name = "auto"
    tasks = ("none",)

    def __init__(self, surface: Surface) -> None:
        self.surface = surface

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.surface.value(outputs)


class ByTask(Loss):
    """The usual loss of the task: cross-entropy for classes, squared error for a regression."""

    name = "auto"
    tasks = ("regression", "binary", "multiclass", "none")

    def for_dataset(self, dataset: Dataset) -> Loss:
        return Height(dataset.surface) if dataset.surface else BY_TASK[dataset.task][0]().for_dataset(dataset)


#: The losses that fit a task; the first is the usual one.
BY_TASK: dict[Task, list[type[Loss]]] = {
    "multiclass": [CrossEntropy, MSE],
    "binary": [BinaryCrossEntropy, Hinge, SquaredHinge, Square, MSE],
    "regression": [MSE, Huber, GaussianNLL],
}


def _log_mean_exp(logarithms: Tensor, weight: Tensor) -> Tensor:
    """(runs, members, batch, n) to (runs, batch, n): the logarithm of the weighted mean of what they are those of."""
    share = (weight / weight.sum(1, keepdim=True)).log()
    return (logarithms + share[:, :, None, None]).logsumexp(1)
