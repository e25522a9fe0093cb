"""Whether claims still have the verdicts that docs/claims.csv tells: all exact ones, and three statistical ones.

`python scripts/verdicts.py FOLDER` trains them in a folder, and fails where a verdict is another. They take 84 s of a
core, launcher and workers together (2026-11-27).
"""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

from dlrun.claims.claim import load, names
from dlrun.claims.conclude import TABLE

DOCS = Path(__file__).parent.parent / "docs"
#: quick, and far from their margins: a share, means, and differences
STATISTICAL = ("xor_bad_init", "vanishing_exploding", "symmetry_breaking")
TIMED = ("forward_vs_reverse",)  #: which compares seconds, and those of a machine with other work tell nothing


def exact() -> list[str]:
    """The claims of which every criterion is without chance."""
    return [
        name
        for name in names()
        if all(each.judge.startswith("every") for each in load(name).criteria) and name not in TIMED
    ]


def verdicts(table: Path) -> dict[str, str]:
    """By claim, as a claims.csv tells them."""
    with table.open(encoding="utf-8", newline="") as file:
        return {row["claim"]: row["verdict"] for row in csv.DictReader(file)}


def main() -> int:
    folder, asked = Path(sys.argv[1]).absolute(), [*exact(), *STATISTICAL]
    subprocess.run([sys.executable, "-m", "dlrun", "claims", *asked, f"hydra.sweep.dir={folder}"], check=False)
    found, told = verdicts(folder / TABLE), verdicts(DOCS / TABLE)
    others = {name: found.get(name) for name in asked if found.get(name) != told[name]}
    for name, verdict in others.items():
        print(f"{name}: {verdict}, and docs/{TABLE} says {told[name]}", file=sys.stderr)
    return int(bool(others))


if __name__ == "__main__":
    sys.exit(main())
