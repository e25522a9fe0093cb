"""A trained network with all that stands before and after it: from a source's numbers to what is predicted."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dlrun.datasets.dataset import Dataset
from dlrun.datasets.encoded import Encoded
from dlrun.datasets.scale import Scaling
from dlrun.losses import Loss
from dlrun.metrics import probabilities_of


class Predictor(nn.Module):
    """Rows of numbers as their source has them, (batch, *shape), to what the run predicts of them.

    That is (batch, classes) probabilities; one score for each row, positive for the second class, where the loss means
    no probabilities; or a regression's numbers in their own unit, (batch, outputs), then as many standard deviations
    where the network gives these. `columns` names them. Missing numbers (NaN) are filled, rows are scaled and
    predictions brought back in double precision, by what training fitted; the network has its own.

    Args:
        network: in evaluation mode.
        data: what it was trained on, without samples.
        encoded: how rows of the source became inputs.
        loss: which says what outputs mean.
    """

    def __init__(self, network: nn.Module, data: Dataset, encoded: Encoded, loss: Loss) -> None:
        super().__init__()
        self.network, self.data, self.loss = network, data, loss
        self.shape, self.precision = encoded.shape, encoded.precision
        inputs, pixels = encoded.inputs, encoded.image.get("pixels")
        self.factor, self.shift = inputs.factor, inputs.shift
        self._keep("missing", encoded.missing)
        self._keep("offset", inputs.offset)
        self._keep("divisor", inputs.divisor)
        self._keep("matrix", inputs.matrix)
        self._keep("pixels", None if pixels is None else np.array(pixels))
        self._keep("mean", data.target_mean)
        self._keep("std", data.target_std)

    def _keep(self, name: str, numbers: np.ndarray | Tensor | None) -> None:
        if numbers is not None:  # torch.export counts buffers that are None, and then finds others in the wrong place
            self.register_buffer(name, torch.as_tensor(numbers), persistent=False)

    @property
    def binary(self) -> bool:
        """Whether there are two classes."""
        return self.data.task == "binary"

    @property
    def columns(self) -> list[str]:
        """The names of what is predicted."""
        if self.data.task != "regression":
            probable = [f"probability_{name}" for name in self.data.class_names]
            return probable if self.loss.probabilistic else ["score"]
        count = self.data.outputs
        names = [""] if count == 1 else [f"_{i + 1}" for i in range(count)]
        deviates = self.loss.outputs(count) > count
        return [f"{what}{name}" for what in ("prediction", "deviation")[: 1 + deviates] for name in names]

    def encode(self, x: Tensor) -> Tensor:
        """The network's inputs."""
        buffers: dict[str, Any] = dict(self.named_buffers(recurse=False))
        if "pixels" in buffers:
            x = x.flatten(2)[:, :, buffers["pixels"]].reshape(x.shape)
        if "missing" in buffers:
            x = torch.where(x.isnan(), buffers["missing"], x)
        offset, divisor, matrix = (buffers.get(name) for name in ("offset", "divisor", "matrix"))
        numbers: Any = x.double()  # an array and a tensor are scaled alike
        inputs: Any = Scaling(offset, divisor, self.factor, self.shift, matrix)(numbers)
        found: Tensor = inputs.to(self.precision)
        return found

    def decode(self, outputs: Tensor) -> Tensor:
        """What the network's outputs mean, in double precision."""
        if self.data.task != "regression":
            return probabilities_of(outputs, self.binary) if self.loss.probabilistic else outputs.double()
        found, spread = self.loss.prediction(outputs).double(), self.loss.deviation(outputs)
        buffers = dict(self.named_buffers(recurse=False))
        if "mean" in buffers:
            found = found * buffers["std"] + buffers["mean"]
            spread = None if spread is None else spread.double() * buffers["std"]
        return found if spread is None else torch.cat([found, spread.double()], -1)

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.network(self.encode(x))).to(self.precision)
