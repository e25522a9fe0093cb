"""New rows of a table, and new images, as the numbers that a run's were before they were scaled."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dlrun.config.words import did_you_mean
from dlrun.datasets import image_files
from dlrun.datasets.encoded import Encoded
from dlrun.datasets.table import read_columns
from dlrun.datasets.tables.choice import name_all
from dlrun.datasets.tables.columns import Column, Raw, clean_text
from dlrun.datasets.tables.delimited import ENDINGS
from dlrun.datasets.tables.parquet import raw_column
from dlrun.errors import ConfigError
from dlrun.terminal.printable import in_line

if TYPE_CHECKING:
    import pandas as pd

#: what a column may be stored as to be of a kind; texts are read as those of the training's file were
STORED = {
    "number": ("number", "boolean", "text", "string"),
    "boolean": ("boolean", "text", "string"),
    "time": ("time", "text", "string"),
    "date": ("date", "text", "string"),
    "category": ("number", "boolean", "time", "date", "text", "string"),
}
UTF = ("utf-8", "utf-8-sig", "utf-16")  #: encodings of which a file says itself which it has
NAMED = 10  #: columns, rows and images that a message names


def of_frame(frame: pd.DataFrame, encoded: Encoded, place: str = "the DataFrame") -> np.ndarray:
    """(rows, features) doubles of a DataFrame that has the run's columns, in any order and among others.

    Numbers, booleans, times and dates count by their type, texts are read as those of the training's file; what is
    missing, is NaN.

    Raises ConfigError, which begins with the place, where a column is not there, or not what it was in training.
    """
    names = [clean_text(str(name)) for name in frame.columns]
    missing = encoded.form["missing"]
    return _of_columns(names, lambda at: raw_column(frame.iloc[:, at].rename(names[at]), missing), encoded, place)


def of_file(file: Path, encoded: Encoded) -> np.ndarray:
    """The same of a CSV, TSV or Parquet file, which is written as the training's was, or says itself how it is.

    Raises ConfigError for a file that is no table, and what `of_frame` raises.
    """
    if Path(file.name.lower().removesuffix(".gz")).suffix not in (*ENDINGS, ".parquet"):
        raise ConfigError(f"{file}: a table is wanted, and this ends in none of {', '.join([*ENDINGS, '.parquet'])}")
    if not encoded.columns:
        shape = " x ".join(map(str, encoded.shape))
        raise ConfigError(f"{file}: this run's inputs are {shape} numbers without names, which no table holds")
    raws = _raws(file, encoded)
    return _of_columns([raw.name for raw in raws], raws.__getitem__, encoded, str(file))


def _raws(file: Path, encoded: Encoded) -> list[Raw]:
    form = encoded.form
    if file.suffix.lower() == ".parquet":
        return read_columns(file, {}, form["missing"])[0]
    layout = {key: form[key] for key in ("separator", "header", "comment", "encoding")}
    if layout["encoding"] in UTF:
        layout["encoding"] = None
    raws = read_columns(file, layout, form["missing"])[0]
    if form["separator"] and len(raws) == 1 < len(encoded.columns):  # written with another one
        raws = read_columns(file, {**layout, "separator": None}, form["missing"])[0]
    width = form["width"]
    if width and len(raws) != width and not (len(raws) == width - 1 and encoded.target == f"column_{width}"):
        raise ConfigError(
            f"{file} has {len(raws)} columns, and the training's file {width}: without a header they are known by "
            "their place; a column may be missing only at the end, where it is the target"
        )
    return raws


def _of_columns(names: Sequence[str], raw: Callable[[int], Raw], encoded: Encoded, place: str) -> np.ndarray:
    """raw: the column at a place among the names."""
    titles = [Raw(name, "number", np.zeros(0)) for name in names]
    name_all(titles)
    known = [title.name for title in titles]
    wanted = [column.name for column in encoded.columns]
    if absent := [name for name in wanted if name not in known]:
        named = _some([f"{name!r}{did_you_mean(name, known)}" for name in absent])
        raise ConfigError(f"{place} has no column {named}; the run was trained on {_some(map(repr, wanted))}")
    if twins := [name for name in wanted if known.count(name) > 1]:
        raise ConfigError(f"{place} has several columns of the name {twins[0]!r}")
    raws = [raw(known.index(column.name)) for column in encoded.columns]
    _refuse_other_decimals(encoded.columns, raws, place)
    return np.hstack([_encode(column, each, place) for column, each in zip(encoded.columns, raws, strict=True)])


def _refuse_other_decimals(columns: Sequence[Column], raws: Sequence[Raw], place: str) -> None:
    """Raise ConfigError where 6.733 would be six thousand, as the training's numbers were written, and no number of the
    rows tells that they are written so, too."""
    texts = {
        column: raw
        for column, raw in zip(columns, raws, strict=True)
        if column.kind == "number" and raw.stored in ("text", "string") and raw.texts
    }
    both = {
        column: (raw.read(column.decimal)[0], raw.read("," if column.decimal == "." else ".")[0])
        for column, raw in texts.items()
    }
    if any((~np.isnan(trained) & np.isnan(other)).any() for trained, other in both.values()):
        return
    for column, (trained, other) in both.items():
        if (differ := ~np.isnan(trained) & ~np.isnan(other) & (trained != other)).any():
            at = int(np.argmax(differ))
            raise ConfigError(
                f"{place}: {column.name!r} holds {texts[column].texts[at]!r}, which is {trained[at]:.15g} as the "
                f"training's numbers were written and {other[at]:.15g} otherwise: leave out what groups digits, write "
                f"decimals as there, with {column.decimal!r}, or give a DataFrame of numbers"
            )


def _encode(column: Column, raw: Raw, place: str) -> np.ndarray:
    if raw.stored not in STORED[column.kind]:
        raise ConfigError(
            f"{place}: {column.name!r} holds {raw.stored}s, and in training it was of the kind {column.kind}"
        )
    try:
        return column.encode(raw)
    except ConfigError as problem:
        raise ConfigError(f"{place}: {problem}") from problem


def of_images(files: Sequence[Path], encoded: Encoded) -> np.ndarray:
    """(images, channels, height, width) of image files, turned, cut and scaled as the run's were; gray ones get three
    equal channels where the run's have colours.

    Raises ConfigError for files that are no images, and for images of another size or with colours that the run's
    have not; all of them are named.
    """
    low, high = encoded.image["range"]
    decoded = [image_files.decode(file, encoded.image["size"]) for file in files]
    wrong = [told for file, image in zip(files, decoded, strict=True) if (told := _unfit(file, image, encoded.shape))]
    if wrong:
        raise ConfigError("\n".join([f"{len(wrong)} of {len(files)} images cannot be taken:", *_lines(wrong)]))
    pixels = np.stack([np.broadcast_to(image[0], encoded.shape) for image in decoded])
    return pixels if (low, high) == (0, 255) else pixels / 255 * (high - low) + low


def _unfit(file: Path, image: tuple[np.ndarray, int, int] | str, shape: tuple[int, ...]) -> str:
    if isinstance(image, str):
        return f"  {file}: {image}"
    channels, height, width = image[0].shape
    if (height, width) != shape[1:]:
        return f"  {file}: {width} x {height}, and the run's images are {shape[2]} x {shape[1]}"
    return f"  {file}: it has colours, and the run's images are gray" if channels > shape[0] else ""


def images_in(place: Path) -> list[Path]:
    """An image file itself, or those in a folder and below, sorted. Raises ConfigError where there are none."""
    if not place.is_dir():
        return [place]
    found = sorted(file for file in place.rglob("*") if file.suffix.lower() in image_files.ENDINGS and file.is_file())
    if not found:
        raise ConfigError(f"{place} holds no images ({', '.join(image_files.ENDINGS)})")
    return found


def refuse_missing(numbers: np.ndarray, encoded: Encoded, place: str) -> None:
    """Raise ConfigError where a number of these rows is not finite, or is missing and training fills none."""
    odd = np.isinf(numbers) if encoded.missing is not None else ~np.isfinite(numbers)
    if not odd.any():
        return
    row, *at = np.argwhere(odd)[0].tolist()
    name = repr(encoded.features[at[-1]]) if encoded.features else f"number {at}"
    what = "is infinite" if np.isinf(numbers[(row, *at)]) else "is missing, and in training nothing was"
    more = int(odd.reshape(len(odd), -1).any(1).sum()) - 1
    raise ConfigError(f"{place}: {name} in row {row + 1}{f' (and {more:,} more rows)' if more else ''} {what}")


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    return in_line(", ".join(listed[:NAMED])) + (f" and {len(listed) - NAMED:,} more" if len(listed) > NAMED else "")


def _lines(lines: Sequence[str]) -> list[str]:
    return [*lines[:NAMED], *([f"  and {len(lines) - NAMED} more"] if len(lines) > NAMED else [])]
