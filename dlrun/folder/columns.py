"""The columns of metrics.csv and of a run's other tables."""

from __future__ import annotations

from collections.abc import Sequence

from dlrun.folder.names import METRICS, RANGE

HIGHER = ("accuracy", "top5", "r2")  #: more is better; for where no summary says so, as `Metric.better` does
#: columns without which the file is none of a run's
NEEDED = {
    METRICS: ("epoch", "step", "lr", "train_loss", "val_loss", "seconds"),
    RANGE: ("step", "lr", "loss", "smoothed"),
}


def columns(metrics: list[str], kept: Sequence[str] = ()) -> list[str]:
    """The header of metrics.csv; the first metric is the task's main one, and there may be none.

    kept: names of the networks that are measured on the validation part beside the trained one, such as ema.
    """
    quantities = ["loss", *metrics]
    measured = [f"{part}_{quantity}" for quantity in quantities for part in ("train", "val")]
    beside = [f"val_{name}_{quantity}" for name in kept for quantity in quantities]
    return ["epoch", "step", "lr", *measured, *beside, "grad_norm", "seconds"]
