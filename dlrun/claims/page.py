"""The page of verdicts: one table of all claims, and below it each with its numbers, pictures and runs."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

import dlrun
from dlrun.claims.outcome import HOLDS, NONE, Verdict, asked, found, kept, seconds_of
from dlrun.claims.picture import comparison, figure
from dlrun.errors import ConfigError
from dlrun.files.replacing import replacing
from dlrun.plots.page import save
from dlrun.plots.pictures import draw, draw_diagnostics
from dlrun.terminal.console import error

PAGE, PICTURE = "index.html", "claim.png"
OF_SWEEPS = ("sensitivity", "heatmap", "race")


def write_page(folder: Path, verdicts: Sequence[Verdict]) -> Path:
    """Write index.html, and the pictures that it shows, into the folder of the claims' runs."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    text = environment.get_template("page.html.jinja").render(
        title=f"Claims of the lectures, {folder.name}",
        claims=[_shown(folder, verdict) for verdict in verdicts],
        counts={told: sum(v.told == told for v in verdicts) for told in dict.fromkeys(v.told for v in verdicts)},
        version=dlrun.__version__,
    )
    with replacing(folder / PAGE) as part:
        part.write_text(text, encoding="utf-8")
    return folder / PAGE


def _shown(folder: Path, verdict: Verdict) -> dict[str, Any]:
    """What the page says of a claim."""
    claim = verdict.claim
    return {
        "name": claim.name,
        "sentence": claim.sentence,
        "source": claim.source,
        "figure": claim.figure,
        "told": verdict.told,
        "kind": verdict.word.replace(" ", "-"),
        "number": "; ".join(found(answer) for _, answer in verdict.answers[:1]),
        "criteria": [(asked(claim, each), found(answer), HOLDS[answer.holds]) for each, answer in verdict.answers],
        "problem": verdict.problem,
        "seeds": verdict.seeds,
        "level": f"{100 * verdict.level:.3g} %",
        "looks": ", ".join(map(str, claim.looks)),
        "seconds": f"{seconds_of(folder, claim):.1f}" if verdict.word != NONE else "",
        "settings": {name: shlex.join(words) for name, words in claim.settings.items()},
        "tried": claim.tried,
        "why": claim.why,
        "pictures": _pictures(folder, verdict),
        "has_runs": verdict.word != NONE,
    }


def _pictures(folder: Path, verdict: Verdict) -> list[str]:
    """Draw the claim's pictures; their paths from the folder."""
    if verdict.word == NONE:
        return []
    claim, written = verdict.claim, []
    if page := figure(verdict):
        written.append(save(page, folder / claim.name / PICTURE))
    runs = kept(folder, claim)
    for picture in claim.pictures:
        setting, _, name = picture.partition("/")
        try:
            if setting == "comparison":
                drawn = [save(comparison(folder, claim, runs), folder / claim.name / f"{setting}.png")]
            elif setting in OF_SWEEPS:
                from dlrun.report.report import redraw

                drawn = [each for each in redraw(folder / claim.name, ours=True) if each.stem == setting]
            else:
                run = next(iter(runs[setting].values()))
                drawn = draw(run)[:1] if name == "curves" else draw_diagnostics(run, [name])
        except (ConfigError, LookupError) as problem:
            error(f"{claim.name}: the picture {picture} cannot be drawn, and is left out: {problem}")
        else:
            written += drawn
    return [each.relative_to(folder).as_posix() for each in written]
