"""Seeds until decided: a sweep that adds seeds at planned looks until its comparisons say something, up to a cap."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from hydra.core.utils import JobReturn

from dlrun.report.collect import collect
from dlrun.report.collect import find as runs_of
from dlrun.report.evaluations import Evaluations
from dlrun.report.findings import find
from dlrun.report.judging import Looks
from dlrun.report.looking import undecided
from dlrun.terminal.console import say

Jobs = list[list[str]]


def until_decided(
    settings: Jobs, looks: Looks, folder: Path, launch: Callable[[Jobs], Sequence[JobReturn]]
) -> list[Sequence[JobReturn]]:
    """Run every setting with seeds 0, 1, ... up to the first look, and on to each next one those that are still open.

    Open are the settings whose comparison with the best, as the sweep's report words it, is undecided, and the best
    itself. The report's intervals are made at the levels of the looks, so that over all looks, and for all pairs of
    settings, they miss with a chance of 5 % at most; a setting that was decided early is decided for good.

    settings: overrides of each, without a seed. folder: the sweep's.
    """
    seeds, run, returned = [0] * len(settings), dict[int, str](), list[Sequence[JobReturn]]()
    going = list(range(len(settings)))
    for look, after in zip(looks.seeds, [*looks.seeds[1:], None], strict=True):
        places = [(i, seed) for i in going for seed in range(seeds[i], look)]
        returned.append(launch([[*settings[i], f"seed={seed}"] for i, seed in places]))
        for (i, _), ended in zip(places, returned[-1], strict=True):
            seeds[i] = look
            run[i] = Path(ended.working_dir or "").resolve().relative_to(folder.resolve()).as_posix()
        runs = runs_of([folder])
        found = find(collect([folder]), runs, Evaluations(), margin=looks.margin, looks=looks)
        names = dict(zip(found.table["run"], found.table["setting"], strict=True))
        left = undecided(found)
        own = [i for i in run if names.get(run[i]) in set(left["setting"] if len(left) else ())]
        if not own or after is None:
            break
        going = sorted({*own, *(i for i in run if names.get(run[i]) in found.bests)})
        say(f"{look} seeds: {len(left)} of {len(found.comparisons)} comparisons are undecided; on to {after} seeds")
    return returned
