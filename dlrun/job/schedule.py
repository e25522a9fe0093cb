"""`dlrun plot schedule=...`: the learning rates of a training that does not take place."""

from __future__ import annotations

from itertools import chain, count
from pathlib import Path

import numpy as np
import pandas as pd
from omegaconf import DictConfig

from dlrun.config.check import resolved
from dlrun.plots.page import save
from dlrun.plots.schedule import figure
from dlrun.schedules.schedule import Schedule
from dlrun.terminal.console import counted
from dlrun.training.batches import moving_numbers
from dlrun.training.build import build
from dlrun.training.stack import Stack

POINTS = 10_000  #: steps that are drawn; of more, as many that lie evenly


def draw_schedule(config: DictConfig, folder: Path) -> tuple[Path, str]:
    """Draw rate and momentum by step into `schedule.png`, or `schedule_2.png` and so on where there is one already.

    Returns the file, and what users should know of the picture.

    Raises ConfigError where the config cannot be trained, and OSError where the folder cannot be written.
    """
    stack = build([resolved(config)], initialize=False)
    name = str(config.hydra.runtime.choices.schedule)
    note = ""
    if type(stack.schedule).observe is not Schedule.observe:
        note = f"schedule={name} lowers the rate by the losses of a training; here it is drawn as it is without them"
    page = figure(rates(stack), f"{name}: {counted(stack.steps, 'step')}, {stack.steps_per_epoch:,} an epoch", note)
    form = str(config.plot.format)
    names = chain(["schedule"], (f"schedule_{i}" for i in count(2)))
    folder.mkdir(parents=True, exist_ok=True)
    free = next(file for file in (folder / f"{stem}.{form}" for stem in names) if not file.exists())
    return save(page, free, form), note


def rates(stack: Stack) -> pd.DataFrame:
    """step, epoch, lr, and what else the schedule moves, at each of 10,000 steps at most of the first run."""
    moving = [name for name in stack.moving if name != "trained"]
    steps = np.unique(np.linspace(0, stack.steps - 1, min(stack.steps, POINTS)).round().astype(int))
    every = moving_numbers(stack, stack.schedule.init(stack.runs), 0, stack.steps)
    numbers = dict(zip(stack.moving, every, strict=True))
    columns = {name: [numbers[name][step][0].item() for step in steps] for name in moving}
    return pd.DataFrame({"step": steps, "epoch": steps / stack.steps_per_epoch, **columns})
