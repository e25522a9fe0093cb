"""docs/lectures.md, the walk through the lectures, and README's table of verdicts, from docs/claims.csv.

`python scripts/lectures.py FOLDER` takes claims.csv and the pictures from a folder that `dlrun claims` left, such as
outputs/claims/2026-11-27; without one the page is written anew from what is in docs/, and `--check` compares it.
"""

from __future__ import annotations

import csv
import shutil
import sys
from collections import Counter
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.colors import to_rgb
from PIL import Image

from dlrun.claims.claim import load
from dlrun.plots.comparison import COLOURS
from dlrun.terminal.console import number

HERE = Path(__file__).parent
DOCS = HERE.parent / "docs"
PAGE, TABLE, PICTURES = DOCS / "lectures.md", DOCS / "claims.csv", DOCS / "claims"
README = HERE.parent / "README.md"
BEGIN, END = "<!-- written by scripts/lectures.py -->\n", "<!-- end -->"  #: around README's table
NOTE = "<!-- Written by scripts/lectures.py from docs/claims.csv and conf/claims: run it again. -->\n"
WIDTH = 800  #: pixels of a picture

Row = dict[str, str]


def page(rows: list[Row]) -> str:
    """The page's text. rows: of claims.csv."""
    by_name: dict[str, list[Row]] = {}
    for row in rows:
        by_name.setdefault(row["claim"], []).append(row)

    def told() -> str:
        words = Counter(found[0]["verdict"] for found in by_name.values())
        dates = sorted({row["date"] for row in rows})
        versions = sorted({row["versions"] for row in rows if row["versions"]})
        counts = ", ".join(f"{count} {word}" for word, count in words.most_common())
        return f"{counts}; {' to '.join(dict.fromkeys([dates[0], dates[-1]]))}, {'; '.join(versions)}."

    environment = Environment(loader=FileSystemLoader(HERE), undefined=StrictUndefined, autoescape=False)
    text = environment.get_template("lectures.md.jinja").render(told=told, claim=lambda name: section(by_name, name))
    return NOTE + text.rstrip() + "\n"


def readme(rows: list[Row], text: str) -> str:
    """README.md with the table of verdicts. rows: of claims.csv; text: the file as it is."""
    counts = Counter({row["claim"]: row["verdict"] for row in rows}.values())
    verdicts = [f"| {verdict} | {count} |" for verdict, count in counts.most_common()]
    table = "\n".join(["| verdict | claims |", "|---|---:|", *verdicts, f"| in all | {counts.total()} |"])
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}{table}\n{END}{rest.partition(END)[2]}"


def section(by_name: dict[str, list[Row]], name: str) -> str:
    """What the page says of a claim."""
    claim, rows = load(name), by_name.get(name)
    if rows is None:
        return f"**{claim.sentence}.** `dlrun claims {name}` has not been run yet.\n"
    first = rows[0]
    seeds = f"{first['seeds']} seeds, " if first["seeds"] else ""
    theirs = f" The lecture: {claim.figure}." if claim.figure else ""
    lines = [f"**{claim.sentence}.** *{first['verdict']}* (`dlrun claims {name}`, {seeds}{claim.source}).{theirs}"]
    for row in rows:
        if row["estimate"] not in ("", "nan"):
            value, low, high = (float(row[key]) for key in ("estimate", "low", "high"))
            interval = f" [{number(low)}, {number(high)}]" if low != high else ""
            lines.append(f"- {row['asked']}: {number(value)}{interval}, {row['holds']}")
        elif row["problem"]:
            lines.append(f"- {row['asked']}: {row['problem']}" if row["asked"] else f"- {row['problem']}")
    if claim.why:
        lines.append(f"\n{claim.why}")
    if claim.tried:
        lines.append(f"\n<details><summary>What was tried</summary>\n\n{claim.tried}\n</details>")
    lines += [f"\n![{each.stem}](claims/{each.name})" for each in sorted(PICTURES.glob(f"{name}-*.png"))]
    return "\n".join(lines) + "\n"


def take(folder: Path) -> None:
    """Copy the table, and of each claim that names pictures these, to docs/."""
    shutil.copy(folder / "claims.csv", TABLE)
    PICTURES.mkdir(exist_ok=True)
    for old in PICTURES.glob("*.png"):
        old.unlink()
    with TABLE.open(encoding="utf-8", newline="") as file:
        names = {row["claim"] for row in csv.DictReader(file)}
    for name in sorted(names):
        for picture in load(name).pictures:
            setting, _, what = picture.partition("/")
            runs = (
                sorted((folder / name).glob(f"{setting}-*/{what}.png")) if what else [folder / name / f"{setting}.png"]
            )
            if runs:
                shrink(runs[0], PICTURES / f"{name}-{picture.replace('/', '-')}.png")


def shrink(source: Path, target: Path) -> None:
    with Image.open(source) as image:
        size = WIDTH, round(image.height * WIDTH / image.width)
        small = image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
        palette = small.quantize(256 - len(COLOURS))  # which drops the colour of a line of which little is seen
        own = [round(255 * part) for colour in COLOURS for part in to_rgb(colour)]
        palette.putpalette([*(palette.getpalette() or [])[: 3 * (256 - len(COLOURS))], *own])
        small.quantize(palette=palette, dither=Image.Dither.NONE).save(target, optimize=True)


def main() -> None:
    arguments = sys.argv[1:]
    if arguments and arguments != ["--check"]:
        take(Path(arguments[0]))
    with TABLE.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    written = {PAGE: page(rows), README: readme(rows, README.read_text(encoding="utf-8"))}
    for path, text in written.items():
        if arguments != ["--check"]:
            path.write_text(text, encoding="utf-8")
        elif path.read_text(encoding="utf-8") != text:
            sys.exit(f"{path} is not what scripts/lectures.py writes: run it")


if __name__ == "__main__":
    main()
