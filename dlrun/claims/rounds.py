"""The runs of claims, look by look: more seeds for those that are not decided yet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from dlrun.claims.claim import Claim
from dlrun.claims.outcome import INCONCLUSIVE, judge, keep
from dlrun.errors import ConfigError

Launch = Callable[[list[list[str]]], list[Path]]  #: trains the jobs that are not there yet; the folders of all
Found = dict[str, dict[int, Path]]  #: a claim's runs, by setting and seed


def rounds(claims: Sequence[Claim], first: int, folder: Path, launch: Launch) -> dict[str, str]:
    """Train the runs of all claims, and note in the folder which runs are whose.

    All claims that have a look to come share a launch, and so stacks and workers. A claim is left as soon as it is
    decided at one of its looks.

    first: the first seed.

    Returns why claims were refused, where their runs cannot be, because data are missing.
    """
    found: dict[str, Found] = {claim.name: {name: {} for name in claim.settings} for claim in claims}
    refused: dict[str, str] = {}
    waiting, look = list(claims), 0
    while waiting:
        for stage in range(max(len(list(claim.stages())) for claim in waiting)):
            asked = {claim.name: _runs(claim, stage, look, first, found[claim.name]) for claim in waiting}
            _launch(waiting, asked, found, launch, refused)
        for claim in waiting:
            if claim.name not in refused:
                keep(folder, claim, found[claim.name])
        waiting = [
            claim
            for claim in waiting
            if claim.name not in refused
            and look + 1 < len(claim.looks)
            and judge(claim, found[claim.name], claim.level[look]).word == INCONCLUSIVE
        ]
        look += 1
    return refused


def _runs(claim: Claim, stage: int, look: int, first: int, found: Found) -> list[tuple[str, int]]:
    """The setting and the seed of each run that this look wants beside those that are there."""
    stages = list(claim.stages())
    seeds = range(first, first + claim.looks[look])
    return [
        (setting, seed)
        for setting in (stages[stage] if stage < len(stages) else ())
        for seed in seeds
        if seed not in found[setting]
    ]


def _launch(
    claims: Sequence[Claim],
    asked: dict[str, list[tuple[str, int]]],
    found: dict[str, Found],
    launch: Launch,
    refused: dict[str, str],
) -> None:
    """Launch the runs of all claims together; where that is refused, each claim's by themselves."""
    able = [claim for claim in claims if claim.name not in refused and asked[claim.name]]
    runs = [(claim, setting, seed) for claim in able for setting, seed in asked[claim.name]]
    if not runs:
        return
    jobs = [
        claim.job(setting, seed, {name: there[seed] for name, there in found[claim.name].items() if seed in there})
        for claim, setting, seed in runs
    ]
    try:
        folders = launch(jobs)
    except (ConfigError, HydraException, OmegaConfBaseException) as problem:
        if len(able) == 1:
            refused[able[0].name] = str(problem).splitlines()[0]
            return
        for claim in able:
            _launch([claim], asked, found, launch, refused)
        return
    if len(folders) < len(jobs):
        refused |= {claim.name: "its runs have not ended yet: give the command again once they have" for claim in able}
        return
    for (claim, setting, seed), run in zip(runs, folders, strict=True):
        found[claim.name][setting][seed] = run
