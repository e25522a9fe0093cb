"""How claims are concluded: judged by the files of their runs, told on the terminal, in claims.csv and on a page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from math import nan
from pathlib import Path

from dlrun.claims.claim import GROUP, Claim, load
from dlrun.claims.outcome import HOLDS, NONE, RUNS, Verdict, asked, first_of, judge, kept, seconds_of, write_rows
from dlrun.claims.page import write_page
from dlrun.config.catalogue import choices
from dlrun.errors import ConfigError
from dlrun.folder.names import MEASURED, MEASURES
from dlrun.report.collect import write_tables
from dlrun.report.judging import Estimate
from dlrun.terminal.console import say

TABLE = "claims.csv"
COLUMNS = (
    "claim", "verdict", "scale", "criterion", "asked", "holds", "estimate", "low", "high", "level", "n", "seeds",
    "seconds", "date", "versions", "figure", "problem",
)  # fmt: skip


def conclude(folder: Path, claims: Sequence[Claim], refused: Mapping[str, str], large: bool = False) -> bool:
    """Judge claims whose runs lie in a folder, write claims.csv, the tables of each claim and the page, and say what
    was found; whether each claim has a verdict. Claims whose runs an earlier command left there are in both, too.

    refused: why some have no runs. large: whether the runs are those of the lectures' own sizes.
    """
    there = {name for name in choices(GROUP) if (folder / name / RUNS).exists()} - {claim.name for claim in claims}
    verdicts: dict[str, Verdict] = {}
    for claim in sorted([*claims, *(load(name, large) for name in there)], key=lambda claim: claim.name):
        why = refused.get(claim.name)
        verdicts[claim.name] = Verdict(claim, NONE, problem=why) if why else _judged(folder, claim)
    write_rows(folder / TABLE, COLUMNS, [row for verdict in verdicts.values() for row in _rows(folder, verdict)])
    page = write_page(folder, list(verdicts.values()))
    told = [verdicts[claim.name] for claim in claims]
    for verdict in told:
        say(f"{verdict.told}: {verdict.claim.name}: {verdict.claim.sentence}", indent=4)
        for line in [*verdict.lines(), *([verdict.problem] if verdict.problem else [])]:
            say(f"    {line}", indent=8)
    say(", ".join(f"{count} {word}" for word, count in Counter(verdict.told for verdict in told).items()))
    say(str(page))
    return all(verdict.word != NONE for verdict in told)


def _judged(folder: Path, claim: Claim) -> Verdict:
    """The verdict by the runs that are there, whose tables are written into the claim's folder."""
    try:
        folders = kept(folder, claim)
        seeds = max(map(len, folders.values()))
        if seeds not in claim.looks:
            raise ConfigError(f"its runs have {seeds} seeds, at which it is not decided: another version left them")
        write_tables([folder / claim.name], folder / claim.name)
    except ConfigError as problem:
        return Verdict(claim, NONE, problem=str(problem))
    verdict = judge(claim, folders, claim.level[claim.looks.index(seeds)])
    rows = [
        (setting, seed, name, repr(value))
        for name, found in verdict.measured.items()
        for setting, values in found.items()
        for seed, value in values.items()
    ]
    write_rows(folder / claim.name / MEASURED, MEASURES, rows)
    return verdict


def _rows(folder: Path, verdict: Verdict) -> list[list[object]]:
    """What claims.csv says of a claim: a row for each number that a criterion estimates."""
    claim = verdict.claim
    found: dict[str, object] = {"claim": claim.name, "verdict": verdict.told, "scale": claim.scale}
    found |= {"figure": claim.figure, "problem": verdict.problem}
    if verdict.word != NONE:
        first = first_of(folder, claim)
        versions, found["date"] = first.get("versions", {}), str(first.get("started", ""))[:10]
        found["seconds"] = f"{seconds_of(folder, claim):.1f}"
        found["versions"] = " ".join(f"{name}={version}" for name, version in versions.items() if version)
    rows = []
    for criterion, answer in verdict.answers:
        for each in answer.estimates or [Estimate(nan, nan, nan, 0)]:
            own = {
                "criterion": criterion.judge.removesuffix("_pairs"), "asked": asked(claim, criterion),
                "holds": HOLDS[answer.holds], "seeds": verdict.seeds, "level": f"{verdict.level:.6g}", "n": each.n,
                "estimate": repr(each.value), "low": repr(each.low), "high": repr(each.high),
            }  # fmt: skip
            rows.append(found | own | {"problem": answer.problem or verdict.problem})
    return [[row.get(column, "") for column in COLUMNS] for row in rows or [found]]
