"""What is measured of a network's outputs: the loss and the metrics, in the targets' own unit."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dlrun.losses import Loss
from dlrun.metrics import Metric


@dataclass
class Measures:
    """The loss that is reported, and the metrics, of the runs of a stack.

    unit: (runs, outputs), what is 1 in standardised targets in their own unit; None: none are standardised.
    """

    loss: Loss
    metrics: list[Metric]
    outputs: int
    unit: Tensor | None

    def select(self, runs: Tensor) -> Measures:
        """Those of some of the runs."""
        return replace(self, unit=None if self.unit is None else self.unit[runs])

    def reported(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Each sample's loss in the targets' own unit, (runs, batch)."""
        return self.loss(outputs, y) if self.unit is None else self.loss.in_unit(outputs, y, self._unit_as(y))

    def sums(self, losses: Tensor, outputs: Tensor, y: Tensor) -> Tensor:
        """Sums over each row's samples of the reported loss and of every metric's statistics, (runs, 1 + statistics)
        doubles."""
        predictions = self.loss.prediction(outputs)
        if self.unit is not None:  # the mean is left out, which no metric would see
            predictions, y = (each.double() * self._unit_as(each.double()) for each in (predictions, y))
        sums = [metric.sums(predictions, y) for metric in self.metrics]
        return torch.cat([losses.sum(1, keepdim=True, dtype=torch.float64), *sums], 1)

    def _unit_as(self, y: Tensor) -> Tensor:
        """(runs, 1, outputs) of y's type."""
        assert self.unit is not None
        return self.unit[:, None].to(y.dtype)

    @property
    def statistics(self) -> int:
        """How many numbers `sums` gives for a row."""
        return 1 + sum(metric.width(self.outputs) for metric in self.metrics)

    def values(self, means: Tensor) -> dict[str, Tensor]:
        """{"loss": (runs,), metric: (runs,), ...} from means over samples, (runs, 1 + statistics)."""
        result, start = {"loss": means[:, 0]}, 1
        for metric in self.metrics:
            width = metric.width(self.outputs)
            result[metric.name] = metric.value(means[:, start : start + width])
            start += width
        return result
