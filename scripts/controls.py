"""Negative controls: claims fed with the wrong settings of tests/controls.yaml, which none of them may survive.

`python scripts/controls.py FOLDER [CLAIM...]` trains them in a folder, all or these, as `dlrun claims` trains claims,
at the claims' own looks and by their own criteria, and fails where one is `reproduced`, or has no verdict. With
`--docs` what was found goes into docs/controls.csv, and docs/controls.md is written from that.
"""

from __future__ import annotations

import csv
import re
import shlex
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

from dlrun.__main__ import main as dlrun
from dlrun.claims import claim as claims
from dlrun.claims.claim import Claim
from dlrun.claims.conclude import TABLE
from dlrun.claims.outcome import HOLDS, INCONCLUSIVE, NOT
from dlrun.files.parsing import yaml_of

ROOT = Path(__file__).parent.parent
CONTROLS = ROOT / "tests" / "controls.yaml"
FOUND, PAGE = ROOT / "docs" / "controls.csv", ROOT / "docs" / "controls.md"
COLUMNS = ("claim", "wrong", "verdict", "holding", "criteria", "seeds")
REFUSED = (NOT, INCONCLUSIVE)  #: what may be said of a claim that was fed wrongly
NOTE = "<!-- Written by scripts/controls.py from docs/controls.csv and docs/claims.csv: run it again. -->\n"

Row = Mapping[str, str]


class Control(NamedTuple):
    """A claim that is fed with wrong settings."""

    of: str  #: the claim's name
    wrong: str  #: what is wrong, in words
    claim: Claim  #: with those settings, and a name of its own


def controls(names: Iterable[str] = ()) -> list[Control]:
    """The controls of all claims, or of these. Raises KeyError for a claim or a setting that there is not."""
    table: dict[str, dict[str, dict[str, str]]] = yaml_of(CONTROLS.read_text(encoding="utf-8"), CONTROLS)
    return [
        Control(name, wrong, fed(claims.load(name), settings, f"{name}_{number}"))
        for name in names or table
        for number, (wrong, settings) in enumerate(table[name].items(), 1)
    ]


def fed(claim: Claim, settings: Mapping[str, str], name: str) -> Claim:
    """The claim under another name, with other overrides in these settings."""
    found = {setting: [*words] for setting, words in claim.settings.items()}
    for setting, words in settings.items():
        if words.startswith("="):
            found[setting] = [*claim.settings[words[1:]]]
        else:
            for each in found if setting == "runs" else [setting]:
                found[each] = replaced(found[each], shlex.split(words))
    return replace(claim, name=name, settings=found, pictures=[])


def replaced(words: Sequence[str], by: Sequence[str]) -> list[str]:
    """Overrides, others in the place of those of the same key; with a choice its group's keys go as well."""
    keys = {word.partition("=")[0] for word in by}
    kept = [word for word in words if not {(key := word.partition("=")[0]), key.partition(".")[0]} & keys]
    return [*kept, *by]


def train(folder: Path, chosen: Sequence[Control]) -> None:
    """Run `dlrun claims` on the controls."""
    by_name = {each.claim.name: each for each in chosen}
    known = patch.object(claims, "names", lambda asked: [*by_name])
    loaded = patch.object(claims, "load", lambda name, large=False: by_name[name].claim)
    command = ["dlrun", "claims", f"hydra.sweep.dir={folder}"]
    with known, loaded, patch.object(sys, "argv", command), suppress(SystemExit):
        dlrun()  # what came to no verdict is told by its rows


def rows_of(folder: Path, chosen: Sequence[Control]) -> list[dict[str, str]]:
    """What was found of each control, as rows of docs/controls.csv."""
    rows, found = read(folder / TABLE), []
    for each in chosen:
        own = [row for row in rows if row["claim"] == each.claim.name]
        criteria = {row["asked"]: row["holds"] for row in own if row["asked"]}
        first = {key: own[0][key] for key in ("verdict", "seeds")}
        counts = {"holding": str(held(criteria)), "criteria": str(len(criteria))}
        found.append({"claim": each.of, "wrong": each.wrong, **first, **counts})
    return found


def held(criteria: Mapping[str, str]) -> int:
    return sum(holds == HOLDS[True] for holds in criteria.values())


def refused(verdict: str) -> bool:
    """Whether a verdict says that the claim was not seen to hold."""
    return verdict.removesuffix(" at small scale") in REFUSED


def write(found: Sequence[Row]) -> None:
    """Put rows into docs/controls.csv, in the place of the claims' old ones, and write the page."""
    old = read(FOUND) if FOUND.exists() else []
    names = {row["claim"] for row in found}
    rows = sorted([*(row for row in old if row["claim"] not in names), *found], key=lambda row: row["claim"])
    with FOUND.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    PAGE.write_text(page(rows), encoding="utf-8")


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def page(rows: Sequence[Row]) -> str:
    """docs/controls.md. rows: of docs/controls.csv."""
    rightly: dict[str, dict[str, str]] = {}
    verdicts: dict[str, str] = {}
    for each in read(ROOT / "docs" / "claims.csv"):
        rightly.setdefault(each["claim"], {})[each["asked"]] = each["holds"]
        verdicts[each["claim"]] = each["verdict"]
    counts = ", ".join(f"{count} {word}" for word, count in Counter(map(told, rows)).most_common())
    head = f"""# Negative controls of the claims
A criterion that holds whatever is trained says nothing. So each claim is also fed with wrong settings, one or two of
those by which its sentence stands: the treatment left out, or weakened, another formula, labels exchanged. Its own
criteria judge what comes of that, at its own looks, and none may say *reproduced*. `python scripts/controls.py FOLDER`
trains them all; `tests/controls.yaml` has the overrides.

Of {len({row["claim"] for row in rows})} claims, fed wrongly in {len(rows)} ways: {counts}.

*Not reproduced* means that the whole interval of a criterion lies where the sentence does not put it. *Inconclusive*,
after the last look, that such an interval still crosses its margin, or that there is none: runs without the number that
is asked for, or two settings that have become the same. Both deny the claim the word *reproduced*; the first is the
stronger. Beside the verdicts is how many criteria hold. A claim that is not reproduced when it is fed rightly tells
less here: of such a one only the criteria that no longer hold say something.

Two claims were reproduced with wrong settings at first, `pretraining` and `xavier_vs_naive`: each has a criterion more,
or a tighter one, since then, which its `tried` tells.
"""
    lines = [
        "",
        "| claim | fed rightly | what is wrong | fed wrongly | seeds |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        name = row["claim"]
        right = f"{told({'verdict': verdicts[name]})}, {held(rightly[name])} of {len(rightly[name])}"
        wrong = f"{told(row)}, {row['holding']} of {row['criteria']}"
        lines.append(f"| {name} | {right} | {row['wrong']} | {wrong} | {row['seeds']} |")
    return NOTE + head + "\n".join(lines) + "\n"


def told(row: Row) -> str:
    return re.sub(" at small scale", "", row["verdict"])


def main() -> int:
    arguments = sys.argv[1:]
    into_docs = "--docs" in arguments
    folder, *names = [word for word in arguments if word != "--docs"]
    chosen, place = controls(names), Path(folder).absolute()
    train(place, chosen)
    found = rows_of(place, chosen)
    if into_docs:
        write(found)
    survived = [row for row in found if not refused(row["verdict"])]
    for row in survived:
        print(f"{row['claim']}, {row['wrong']}: {row['verdict']}")
    return int(bool(survived))


if __name__ == "__main__":
    sys.exit(main())
