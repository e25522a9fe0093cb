"""Whether a finished network is right as often as it believes to be."""

from __future__ import annotations

import torch

from dlrun.diagnostics.diagnostic import Found, OfFinished, Part, Statistics, View
from dlrun.diagnostics.predictions import need_classes, predictions
from dlrun.diagnostics.probe import Probe
from dlrun.errors import ConfigError
from dlrun.metrics import BINS, by_bin, confidence_of, in_units, right_of
from dlrun.training.stack import Stack


class Calibration(OfFinished):
    r"""Reliability diagram: mean confidence and accuracy of the samples in each of 15 bins of confidence.

    Confidence is the probability of the most probable class; bin b holds $(\frac{b-1}{15}, \frac{b}{15}]$, from the
    column `low` to `high`. `samples` are its samples, `share` is their part of all. The expected calibration error is

    $$\sum_b \text{share}_b\, |\text{confidence}_b - \text{accuracy}_b|$$

    and is the `ece` of the metrics. A bin without samples has a confidence and an accuracy that are no number; what is
    itself no number is counted in the first bin.

    Args:
        part, samples: the samples looked at: so many of "train", "val" or "test"; None: all.
        statistics: batch normalization by these samples' own statistics, or by its running averages.

    Raises ConfigError where there are no classes, or the loss makes no probabilities of the outputs.

    Reference: Guo et al. 2017, arXiv:1706.04599; Niculescu-Mizil & Caruana 2005, doi:10.1145/1102351.1102430.
    """

    def __init__(self, part: Part, samples: int | None, statistics: Statistics) -> None:
        self.part, self.samples, self.statistics = part, samples, statistics

    def fits(self, stack: Stack) -> None:
        need_classes(stack, "leave it out")
        if not stack.measures.loss.probabilistic:
            raise ConfigError(
                f"outputs that loss={stack.measures.loss.name} trained are no probabilities: choose loss="
                "binary_cross_entropy, or leave it out"
            )

    def look(self, view: View) -> list[Found]:
        stack, binary = view.stack, view.stack.dataset.task == "binary"
        probe = Probe.of(stack, self.part, self.samples)
        outputs = predictions(stack, probe, self.statistics)
        confidence = confidence_of(outputs, binary)
        right = right_of(outputs, probe.targets(stack.runs), binary)
        counts, sums, rights = (
            by_bin(confidence, values).cpu() for values in (torch.ones_like(confidence), in_units(confidence), right)
        )
        found = []
        for samples, share, mean, accuracy in zip(
            counts.tolist(), (counts / probe.samples).tolist(), (sums / counts).tolist(), (rights / counts).tolist(),
            strict=True,
        ):  # fmt: skip
            rows = [
                {
                    "low": b / BINS,
                    "high": (b + 1) / BINS,
                    "samples": int(samples[b]),
                    "share": share[b],
                    "confidence": mean[b],
                    "accuracy": accuracy[b],
                }
                for b in range(BINS)
            ]
            gaps = [row["share"] * abs(row["confidence"] - row["accuracy"]) for row in rows if row["samples"]]
            found.append(Found(rows, summary={"ece": sum(gaps)}))
        return found
