"""Which classes a finished network takes for which others."""

from __future__ import annotations

import torch

from dlrun.diagnostics.diagnostic import Found, OfFinished, Part, Statistics, View
from dlrun.diagnostics.predictions import need_classes, predictions
from dlrun.diagnostics.probe import Probe
from dlrun.metrics import classes_of
from dlrun.training.stack import Stack


class Confusion(OfFinished):
    r"""How many samples of each class are taken for each, and their share of that class.

    $$\text{count}_{tp} = |\{i: y_i = t, \hat y_i = p\}|, \quad
    \text{rate}_{tp} = \text{count}_{tp} / \sum_q \text{count}_{tq}$$

    The predicted class $\hat y$ is the most probable one, of two the one that the output's sign says, as in `accuracy`,
    which is the diagonal's sum over that of all. A class that the part does not hold has rates that are no number.
    A row per pair, with the columns `true` and `predicted` (names of classes), `count` and `rate`.

    Args:
        part, samples: the samples looked at: so many of "train", "val" or "test"; None: all.
        statistics: batch normalization by these samples' own statistics, or by its running averages.

    Raises ConfigError where there are no classes.

    Reference: Kohavi & Provost 1998, doi:10.1023/A:1017181826899.
    """

    def __init__(self, part: Part, samples: int | None, statistics: Statistics) -> None:
        self.part, self.samples, self.statistics = part, samples, statistics

    def fits(self, stack: Stack) -> None:
        need_classes(stack, "leave it out, or look at diagnostics=fit")

    def look(self, view: View) -> list[Found]:
        stack, names = view.stack, view.stack.dataset.classes
        probe = Probe.of(stack, self.part, self.samples)
        said = classes_of(predictions(stack, probe, self.statistics), stack.dataset.task == "binary").long()
        pairs = (probe.targets(stack.runs).long() * len(names) + said).cpu()
        found = []
        for of_run in pairs:
            counts = torch.bincount(of_run, minlength=len(names) ** 2).view(len(names), -1)
            rates = counts.double() / counts.sum(1, keepdim=True)
            found.append(Found([
                {"true": true, "predicted": predicted, "count": count, "rate": rate}
                for true, of_true, shares in zip(names, counts.tolist(), rates.tolist(), strict=True)
                for predicted, count, rate in zip(names, of_true, shares, strict=True)
            ]))  # fmt: skip
        return found
