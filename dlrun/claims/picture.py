"""The picture of a verdict: the numbers of every run, and beside them the estimates, with where these had to lie."""

from __future__ import annotations

import textwrap
from collections import Counter
from math import isfinite
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dlrun.claims.claim import Claim
from dlrun.claims.criteria import SIGNS, WHAT, Answer, Criterion
from dlrun.claims.outcome import NONE, Folders, Verdict
from dlrun.errors import ConfigError
from dlrun.folder.reading import status_of
from dlrun.plots import comparison as plots
from dlrun.plots.page import GREY, LARGE, LR, SMALL, TRAIN, VAL, is_wide, shortened
from dlrun.report import collect
from dlrun.report.statistics import FINISHED

MOST = 4  #: criteria that are drawn
COLOURS = {True: LR, False: VAL, None: GREY}


def figure(verdict: Verdict) -> Figure | None:
    """A row for each criterion: left every run's number by setting, right the estimate, its interval and the region.

    None for a claim without a verdict.
    """
    shown = verdict.answers[:MOST]
    if verdict.word == NONE or not shown:
        return None
    page = Figure(figsize=(12, 2.2 + 3.2 * len(shown)), layout="constrained")
    FigureCanvasAgg(page)
    grid = page.subplots(len(shown), 2, squeeze=False, width_ratios=[3, 2])
    for (left, right), (criterion, answer) in zip(grid, shown, strict=True):
        _runs(left, verdict, criterion)
        _estimates(right, criterion, answer)
    sentence = "\n".join(textwrap.wrap(verdict.claim.sentence, 75))
    more = f"; {len(verdict.answers) - MOST} more criteria in the table" if len(verdict.answers) > MOST else ""
    page.suptitle(f"{sentence}\n{verdict.told}{more}", fontsize=LARGE - 2, fontweight="bold", parse_math=False)
    return page


def comparison(folder: Path, claim: Claim, folders: Folders) -> Figure:
    """The validation curves of a claim's settings, by their names there: accuracy, or the loss where there is none.

    folder: of all claims, with `curves.csv` in the claim's own.

    Raises ConfigError where no run has finished.
    """
    curves = collect.curves(folder / claim.name)
    column = "val_accuracy" if (curves["metric"] == "val_accuracy").any() else "val_loss"
    settings, fates = dict[str, list[str]](), dict[str, str]()
    for setting, runs in folders.items():
        found = {run.relative_to(folder / claim.name).as_posix(): status_of(run) for run in runs.values()}
        settings[setting] = [run for run, status in found.items() if status in FINISHED]
        lost = Counter(str(status) for status in found.values() if status not in FINISHED)
        if lost:
            fates[setting] = ", ".join(f"{count} of {len(found)} {status}" for status, count in lost.items())
    drawn = {setting: runs for setting, runs in settings.items() if runs}
    if not drawn:
        raise ConfigError("no run has finished")
    return plots.figure(curves, drawn, column, claim.name, fates)


def _runs(axes: Axes, verdict: Verdict, criterion: Criterion) -> None:
    """Each setting's numbers, spread a little so that equal ones are seen, and their mean."""
    measure = verdict.claim.measures[criterion.of]
    columns = [np.array(list(verdict.measured[criterion.of][name].values())) for name in criterion.settings]
    everything = np.concatenate(columns)
    for place, values in enumerate(columns):
        spread = np.random.default_rng(0).uniform(-0.18, 0.18, len(values)) if len(values) > 1 else np.zeros(1)
        axes.plot(place + spread, values, "o", color=TRAIN, alpha=0.35, markersize=6, markeredgewidth=0)
        axes.plot([place - 0.3, place + 0.3], [np.nanmean(values)] * 2, color="black", linewidth=2.5)
    if is_wide(everything):
        axes.set_yscale("log")
    length = max(6, 44 // len(columns))
    axes.set_xticks(range(len(columns)), [shortened(name, length) for name in criterion.settings], fontsize=SMALL - 2)
    axes.set_xlim(-0.6, len(columns) - 0.4)
    axes.tick_params(labelsize=SMALL - 2)
    axes.set_title("\n".join(textwrap.wrap(measure.title, 46)), fontsize=SMALL, parse_math=False)


def _estimates(axes: Axes, criterion: Criterion, answer: Answer) -> None:
    """Each estimate with its interval, over the region where it was claimed to lie."""
    region, colour = criterion.region, COLOURS[answer.holds]
    steps = len(answer.estimates)
    for place, each in enumerate(answer.estimates):
        row = steps - 1 - place
        if isfinite(each.low) and isfinite(each.high):
            axes.plot([each.low, each.high], [row, row], color=colour, linewidth=5, solid_capstyle="butt")
        axes.plot([each.value], [row], "D", color=colour, markersize=9)
    axes.margins(x=0.25)
    axes.set_ylim(-0.8, max(steps, 1) - 0.2)
    seen = [end for end in (region.low, region.high) if isfinite(end)]
    if seen and answer.estimates:
        axes.update_datalim([(end, 0) for end in seen])
        axes.autoscale_view(scaley=False)
    low, high = axes.get_xlim()
    axes.axvspan(max(region.low, low), min(region.high, high), color=LR, alpha=0.12, linewidth=0)
    for end in seen:
        axes.axvline(end, color=LR, linestyle="--", linewidth=2)
    axes.set_xlim(low, high)
    axes.set_yticks([])
    axes.tick_params(labelsize=SMALL - 2)
    told = WHAT.get(criterion.judge) or SIGNS[criterion.judge].join(criterion.settings)
    if criterion.judge == "order":
        told = "each setting less the one before"
    axes.set_title("\n".join(textwrap.wrap(f"{told}, {region}", 32)), fontsize=SMALL, parse_math=False)
