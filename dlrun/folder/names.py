"""A run's folder: the names of its files, and what it is known by."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dlrun.config import typed

CONFIG = "config.yaml"
METRICS = "metrics.csv"
SUMMARY = "summary.json"
CURVES = "curves.png"
LOG = "dlrun.log"  #: the file that conf/setup.yaml's logging writes, too
RANGE = "lr_range.csv"  #: rate and loss of every step of schedule=lr_range
RANGE_PLOT = "lr_range.png"
PRETRAINING = "pretraining.csv"  #: an initializer's own trainings
BEST = "model.safetensors"  #: the best parameters, judged by the validation part
LAST = "last.safetensors"
CHECKPOINT = "checkpoint"  #: a folder, see folder/checkpoint.py
ENCODING = "encoding.json"  #: what encodes new rows as the run's were, see docs/encoding.md
MATRICES = "zca-*.safetensors"  #: a matrix that it needs
MEASURED = "measured.csv"  #: in a claim's folder: a number a row, of a run
MEASURES = ("setting", "seed", "measure", "value")  #: its columns
FRONT = "front.csv"  #: in a sweep's folder: its settings by several objectives
NOTES = "notes.json"  #: what users write of a run or a sweep, see folder/notes.py
PLAN = "plan.json"  #: in a sweep's folder, see sweep/plan.py
LOCK = ".lock"  #: held by the process that is at work in the folder, see folder/lock.py
KNOWN_BY = (METRICS, SUMMARY, CONFIG, BEST)  #: a folder with one of these is a run's
TABLES = (METRICS, RANGE, PRETRAINING)  #: what grows while a run goes on, beside the tables of diagnostics
PACKAGES, CHANGES = "dlrun-packages.txt", "dlrun-changes.patch"  #: beside a run's or a sweep's config
FORMS = ("png", "svg", "pdf")  #: of pictures; a name with the first stands for all
OVERRIDES = ".hydra/overrides.yaml"  #: what was typed, as Hydra writes it
HYDRA = (".hydra", *(f".hydra/{name}.yaml" for name in ("config", "hydra", "overrides")))  #: what Hydra writes


def table_of(diagnostic: str) -> str:
    """The file of a diagnostic's rows."""
    return f"{diagnostic}.csv"


def picture_of(diagnostic: str) -> str:
    """The file of what a diagnostic's rows show."""
    return f"{diagnostic}.png"


def films_of(name: str) -> tuple[str, str]:
    """The files of an animation: a GIF, and what there is where ffmpeg is installed."""
    return f"{name}.gif", f"{name}.mp4"


def surface_of(diagnostic: str) -> str:
    """The file of the surface over which a diagnostic's rows lie."""
    return f"{diagnostic}_surface.csv"


def curves_of(config: Mapping[str, Any]) -> str:
    """The file of a run's curves, by its config, of which one from before pictures had forms says nothing."""
    return str(Path(CURVES).with_suffix(f".{form_of(config)}"))


def form_of(config: Mapping[str, Any]) -> str:
    """What kind of pictures a run draws; the first where its config, maybe a stranger's, says none of them."""
    plot = config.get("plot")
    form = plot.get("format") if isinstance(plot, dict) else None
    return form if form in FORMS else FORMS[0]


def in_all_forms(picture: str) -> list[str]:
    """The names that a picture may have, by its kind."""
    return [str(Path(picture).with_suffix(f".{form}")) for form in FORMS]


def arrays_of(diagnostic: str) -> str:
    """The file of what a diagnostic has beside its rows."""
    return f"{diagnostic}.safetensors"


def kept_of(diagnostic: str) -> str:
    """The file that grows with what a diagnostic keeps until the training ends."""
    return f"{diagnostic}.kept"


def holds_run(folder: str | Path) -> bool:
    """Whether a run was written here before; Hydra's own `.hydra/` and log file do not count."""
    return any((Path(folder) / name).exists() for name in KNOWN_BY)


def begun(folder: Path) -> bool:
    """Whether `dlrun resume` can go on here, with a run or a sweep."""
    return any((folder / name).exists() for name in (CONFIG, PLAN))


def shell_command(verb: str, folder: str | Path) -> str:
    """`dlrun VERB FOLDER`, as a shell takes it, with the code of one's own that this command was allowed to run."""
    allowed = typed.allowing() if verb == "resume" else None
    return shlex.join(["dlrun", verb, str(folder), *([allowed] if allowed else [])])
