"""Which columns and rows of a table are used."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dlrun.datasets.tables.cells import date_forms
from dlrun.datasets.tables.columns import Raw, in_order
from dlrun.datasets.tables.typed import typed
from dlrun.errors import ConfigError
from dlrun.terminal.printable import in_line

NAMELESS = ("", "unnamed: 0")  #: what pandas calls a column without a name
#: and columns that number the rows, as programs write them
ROW_NUMBERS = (*NAMELESS, "id", "index", "level_0", "row", "row_id", "rowid", "rownames", "row.names", "row_names")


@dataclass
class Chosen:
    """The columns that are used, the one to predict by its place among them, and what was left out unasked."""

    raws: list[Raw]
    label: int
    notes: list[str] = field(default_factory=list)


def name_all(raws: Sequence[Raw]) -> set[str]:
    """Call columns without a name by their number, column_1; which names these are."""
    nameless = set()
    for i, raw in enumerate(raws):
        if raw.name.lower() in NAMELESS:
            raw.name = f"column_{i + 1}"
            nameless.add(raw.name)
    return nameless


def choose_columns(
    raws: Sequence[Raw], target: str | None, keys: Mapping[str, Sequence[str] | None], file: Path
) -> Chosen:
    """The columns to learn from and the one to predict.

    keys: the columns that dataset.features, drop, categories and numbers name; whatever is named there is used.

    Left out unasked: empty columns; a first column without a name whose cells all differ, which names the rows; columns
    of the names in ROW_NUMBERS whose whole numbers rise or fall from row to row, with gaps where rows were taken out.

    Raises ConfigError for names of no column, of several columns, and of the target where it cannot be meant.
    """
    nameless = name_all(raws)
    known = list(dict.fromkeys(raw.name for raw in raws))
    for key, names in {"target": [] if target is None else [target], **keys}.items():
        for name in names or []:
            _refuse_unknown(key, name, known, file)
    features, drop = keys["features"], keys["drop"] or []
    for key in ("features", "categories", "numbers"):
        if both := [name for name in keys[key] or [] if name in drop]:
            raise ConfigError(f"dataset.drop: {both[0]!r} stands in dataset.{key} too: leave it out of one of them")
    if target is not None and target in drop:
        raise ConfigError(f"dataset.drop: {target!r} is the target: leave it in, or choose another dataset.target")
    if target is not None and target in (features or []):
        raise ConfigError(f"dataset.features: {target!r} is the target, which cannot be learnt from itself")
    left_in = {name for names in (features, keys["categories"], keys["numbers"]) for name in names or []} | {target}
    empty, counting, used = [], [], []
    for i, raw in enumerate(raws):
        if raw.name in drop:
            continue
        if raw.missing.all() and raw.name != target:
            empty.append(raw.name)
        elif raw.name not in left_in and _names_rows(raw, i == 0 and raw.name in nameless, raw.name in nameless):
            counting.append(raw.name)
        else:
            used.append(raw)
    if not used:
        raise ConfigError(f"{file} has no column left to predict")
    target = used[-1].name if target is None else target
    used = [raw for raw in used if features is None or raw.name in features or raw.name == target]
    notes = []
    if empty:
        notes.append(f"left out, since they are empty: {', '.join(empty)}")
    if counting:
        notes.append(
            f"left out, since they name or count the rows: {', '.join(counting)} (dataset.numbers or "
            "dataset.categories keeps what it names)"
        )
    if kept := [raw.name for raw in used if raw.name in nameless]:
        notes.append(f"without a name in the file: {', '.join(kept)} ({typed('drop', kept)} leaves them out)")
    _refuse_twins(used, target, raws, file)
    return Chosen(used, next(i for i, raw in enumerate(used) if raw.name == target), notes)


def choose_rows(chosen: Chosen, drop_missing: str, impute: bool, file: Path) -> None:
    """Leave out the rows that dataset.drop_missing names, and say how many.

    Raises ConfigError where values are still missing that are not to be imputed: one message for all columns.
    """
    raws, label = chosen.raws, chosen.raws[chosen.label]
    total = len(label.values)
    if drop_missing != "none":
        gone = label.missing if drop_missing == "target" else np.any([raw.missing for raw in raws], axis=0)
        what = f"no value of {label.name!r}" if drop_missing == "target" else "a missing value"
        if gone.all():
            raise ConfigError(f"dataset.drop_missing={drop_missing}: {file} has no other rows than such with {what}")
        chosen.raws = [raw.rows(~gone) for raw in raws]
        chosen.notes.append(f"rows left out: {int(gone.sum())} of {total}, with {what} (dataset.drop_missing)")
    lacking = [raw for raw in chosen.raws if raw.missing.any()]
    found = [_missing(raw) for raw in lacking if raw.name == label.name or not impute]
    if not found:
        return
    ways = ["correct the file"]
    if chosen.raws[chosen.label].missing.any():
        ways.append("leave out rows without a target by dataset.drop_missing=target")
    if not impute and any(raw.name != label.name for raw in lacking):
        ways.append(
            "leave out rows by dataset.drop_missing=any, or fill what is missing (not in the target) by "
            "dataset.impute=true"
        )
    if any(raw.words and raw.holds_texts for raw in lacking):
        ways.append("dataset.missing=[] takes such words as texts")
    raise ConfigError(f"{file}: of {total} rows, some miss a value: {', '.join(found)}; {', or '.join(ways)}")


def _missing(raw: Raw) -> str:
    words = "".join(f", {count} of them {word!r}" for word, count in raw.words.items())
    return f"{raw.name!r} ({int(raw.missing.sum())} missing{words})"


def _names_rows(raw: Raw, first: bool, nameless: bool) -> bool:
    """Whether a column names the rows, as R and pandas write them, or numbers them."""
    if not nameless and raw.name.lower() not in ROW_NUMBERS:
        return False
    if raw.missing.any() or raw.stored in ("date", "unfit") or date_forms(raw.texts):
        return False
    if first and len(np.unique(raw.values)) == len(raw.values):
        return True
    return in_order(np.append(raw.by_point[0], np.nan)[raw.values] if raw.texts else raw.values)


def _refuse_unknown(key: str, name: str, known: Collection[str], file: Path) -> None:
    if name in known:
        return
    near = difflib.get_close_matches(name, list(known), 1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    said = f"dataset.{key}={name}" if key == "target" else f"dataset.{key}: {name!r}"
    raise ConfigError(f"{said}: no such column in {file}; {hint}it has {in_line(', '.join(map(repr, known)))}")


def _refuse_twins(used: Sequence[Raw], target: str, raws: Sequence[Raw], file: Path) -> None:
    names = [raw.name for raw in used]
    twins = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if not twins:
        return
    places = [
        f"{name!r} (columns {' and '.join(str(i + 1) for i, raw in enumerate(raws) if raw.name == name)})"
        for name in twins
    ]
    way = "" if target in twins else f", or leave them out by {typed('drop', twins)}"
    raise ConfigError(f"{file} has several columns of one name: {', '.join(places)}: rename them{way}")
