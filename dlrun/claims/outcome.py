"""The verdict on a claim, from the files that its runs left, and what it says in words."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

from dlrun.claims.claim import Claim
from dlrun.claims.criteria import SIGNS, WHAT, Answer, Criterion
from dlrun.errors import ConfigError
from dlrun.files.opening import inside, read
from dlrun.files.replacing import replacing
from dlrun.folder.formulas import guarded, unguarded
from dlrun.folder.reading import summary_of
from dlrun.terminal.console import number

RUNS = "runs.csv"  #: in a claim's folder
Folders = Mapping[str, Mapping[int, Path]]  #: of a claim's runs, by setting and seed
Measured = dict[str, dict[str, dict[int, float]]]  #: by measure, setting and seed
HOLDS = {True: "holds", False: "does not hold", None: "open"}  #: what is said of a criterion
REPRODUCED, NOT, INCONCLUSIVE, NONE = "reproduced", "not reproduced", "inconclusive", "no verdict"


@dataclass(frozen=True)
class Verdict:
    """What was found of a claim."""

    claim: Claim
    word: str  #: reproduced, not reproduced, inconclusive; no verdict where runs are missing or failed
    answers: list[tuple[Criterion, Answer]] = field(default_factory=list)
    measured: Measured = field(default_factory=dict)
    level: float = 0.95  #: of the intervals
    problem: str = ""  #: why there is no verdict

    @property
    def told(self) -> str:
        """The word, with the scale where it is not the lecture's."""
        return f"{self.word} at small scale" if self.claim.scale == "small" and self.word != NONE else self.word

    @property
    def seeds(self) -> int:
        """How many each setting has."""
        return max((len(values) for found in self.measured.values() for values in found.values()), default=0)

    def lines(self) -> list[str]:
        """A line for each criterion: what was to be, and what was found."""
        return [f"{asked(self.claim, criterion)}: {found(answer)}" for criterion, answer in self.answers]


def keep(folder: Path, claim: Claim, folders: Folders) -> None:
    """Write which runs are the claim's, as paths from its folder in the folder of all."""
    rows = [
        (setting, seed, os.path.relpath(run, folder)) for setting, runs in folders.items() for seed, run in runs.items()
    ]
    (folder / claim.name).mkdir(exist_ok=True)
    write_rows(folder / claim.name / RUNS, ["setting", "seed", "run"], rows)


def kept(folder: Path, claim: Claim) -> Folders:
    """What `keep` wrote. Raises ConfigError where that is damaged, or leads out of the folder."""
    place = f"{claim.name}/{RUNS}"
    found: dict[str, dict[int, Path]] = {setting: {} for setting in claim.settings}
    for row in _rows_of(folder, place):
        try:
            found[unguarded(str(row["setting"]))][int(str(row["seed"]))] = inside(folder, str(row["run"]))
        except (KeyError, ValueError) as problem:
            raise ConfigError(f"{folder / place} does not tell of the runs of {claim.name}: {problem}") from problem
    return found


def _rows_of(folder: Path, place: str) -> list[dict[str, str]]:
    """The rows of a table. Raises ConfigError where it is none."""
    try:
        return list(csv.DictReader(StringIO(read(folder, place), newline="")))
    except csv.Error as problem:
        raise ConfigError(f"{folder / place} is no table: {problem}") from problem


def write_rows(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Write a table; a text that a spreadsheet would compute is guarded: what is told of a file may be a stranger's."""
    with replacing(path) as part, open(part, "w", encoding="utf-8", newline="") as file:
        cells = [[guarded(str(cell)) for cell in row] for row in (header, *rows)]
        csv.writer(file, lineterminator="\n").writerows(cells)


def measure(claim: Claim, folders: Folders) -> Measured:
    """Every number that the claim measures. Raises ConfigError for a run that did not come to an end."""
    measured: Measured = {name: {} for name in claim.measures}
    wanted = {name: _needed(claim, name) for name in claim.settings}
    for setting, runs in folders.items():
        for seed, folder in runs.items():
            numbers: dict[str, float] = {}
            for name in wanted[setting]:
                numbers[name] = claim.measures[name].of(folder, numbers)
                measured[name].setdefault(setting, {})[seed] = numbers[name]
    return measured


def _needed(claim: Claim, setting: str) -> list[str]:
    """The measures that a criterion wants of a setting, and those that these are made of, in their order."""
    wanted = {criterion.of for criterion in claim.criteria if setting in criterion.settings}
    for name in reversed(list(claim.measures)):
        if name in wanted:
            keys = claim.measures[name].keys
            wanted |= set(keys.get("minus", ())) | set(keys.get("over", ()))
    return [name for name in claim.measures if name in wanted]


def judge(claim: Claim, folders: Folders, level: float) -> Verdict:
    """The verdict on a claim whose runs have ended, with intervals of this level."""
    try:
        measured = measure(claim, folders)
        answers = [(each, each.answer(measured[each.of], level)) for each in claim.criteria]
    except ConfigError as problem:
        return Verdict(claim, NONE, level=level, problem=str(problem))
    found = [answer.holds for _, answer in answers]
    word = NOT if False in found else INCONCLUSIVE if None in found else REPRODUCED
    return Verdict(claim, word, answers, measured, level)


def asked(claim: Claim, criterion: Criterion) -> str:
    """A criterion in words: `failed, uniform - he_normal, above 0.1`."""
    title, settings = claim.measures[criterion.of].title, criterion.settings
    words = [title, SIGNS.get(criterion.judge, ", ").join(settings), WHAT.get(criterion.judge, "")]
    return f"{', '.join(word for word in words if word)}, {criterion.region}"


def found(answer: Answer) -> str:
    """What a criterion has found, in words."""
    told = "; ".join(
        number(each.value) + (f" [{number(each.low)}, {number(each.high)}]" if each.low != each.high else "")
        for each in answer.estimates
    )
    still = f"about {answer.more:,} more seeds" if answer.more else ""
    return "; ".join(word for word in (told, answer.problem, still) if word)


def seconds_of(folder: Path, claim: Claim) -> float:
    """What the claim's runs took, each its share of its stack."""
    summaries = [summary_of(run) for runs in kept(folder, claim).values() for run in runs.values()]
    return float(sum(each.get("seconds", 0) / each.get("width", 1) for each in summaries))


def first_of(folder: Path, claim: Claim) -> dict[str, Any]:
    """The summary of its first run."""
    return summary_of(next(run for runs in kept(folder, claim).values() for run in runs.values()))
