"""How claims are concluded: judged by the files of their runs, told on the terminal, in claims.csv and on a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import nan
from pathlib import Path

from dlrun.claims.claim import Claim
from dlrun.claims.outcome import NONE, Verdict, asked, judge, kept, seconds_of, write_rows
from dlrun.claims.page import write_page
from dlrun.report.collect import write_tables
from dlrun.report.judging import Estimate
from dlrun.terminal.console import say

MEASURED, TABLE = "measured.csv", "claims.csv"
COLUMNS = [
    "claim", "verdict", "scale", "criterion", "asked", "holds", "estimate", "low", "high", "level", "n", "seeds",
    "seconds", "figure", "problem",
]  # fmt: skip


def conclude(folder: Path, claims: Sequence[Claim], refused: Mapping[str, str]) -> bool:
    """Judge claims whose runs lie in a folder, write claims.csv, the tables of each claim and the page, and say what
    was found; whether each claim has a verdict.

    refused: why some have no runs.
    """
    verdicts = []
    for claim in claims:
        if claim.name in refused:
            verdicts.append(Verdict(claim, NONE, problem=refused[claim.name]))
            continue
        folders = kept(folder, claim)
        seeds = max(map(len, folders.values()))
        verdict = judge(claim, folders, claim.level[claim.looks.index(seeds)])
        verdicts.append(verdict)
        write_tables([folder / claim.name], folder / claim.name)
        rows = [
            (setting, seed, name, repr(value))
            for name, found in verdict.measured.items()
            for setting, values in found.items()
            for seed, value in values.items()
        ]
        write_rows(folder / claim.name / MEASURED, ["setting", "seed", "measure", "value"], rows)
    write_rows(folder / TABLE, COLUMNS, [row for verdict in verdicts for row in _rows(folder, verdict)])
    page = write_page(folder, verdicts)
    for verdict in verdicts:
        say(f"{verdict.told:<28} {verdict.claim.name}: {verdict.claim.sentence}", indent=4)
        for line in [*verdict.lines(), *([verdict.problem] if verdict.problem else [])]:
            say(f"    {line}", indent=8)
    counts = {word: sum(each.told == word for each in verdicts) for word in dict.fromkeys(v.told for v in verdicts)}
    say(", ".join(f"{count} {word}" for word, count in counts.items()))
    say(str(page))
    return all(verdict.word != NONE for verdict in verdicts)


def _rows(folder: Path, verdict: Verdict) -> list[list[object]]:
    claim = verdict.claim
    start: list[object] = [claim.name, verdict.told, claim.scale]
    end: list[object] = [f"{seconds_of(folder, verdict):.1f}", claim.figure, verdict.problem]
    rows = []
    for criterion, answer in verdict.answers:
        holds = {True: "yes", False: "no", None: "open"}[answer.holds]
        for each in answer.estimates or [Estimate(nan, nan, nan, 0)]:
            numbers = [repr(each.value), repr(each.low), repr(each.high), f"{verdict.level:.6g}", each.n]
            told = [criterion.judge, asked(claim, criterion), holds, *numbers, verdict.seeds]
            rows.append([*start, *told, *end[:-1], answer.problem])
    return rows or [[*start, *[""] * 9, *end]]
