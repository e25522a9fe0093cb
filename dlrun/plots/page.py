"""What all pictures of a run share: colours, sizes for a projector, axes, titles, and how they are written."""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Iterable, Sequence
from io import BytesIO
from itertools import pairwise
from math import isfinite
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from PIL import Image

from dlrun.files.replacing import replacing

# Blue, vermilion and green of Okabe & Ito 2008, which any colour vision tells apart.
TRAIN, VAL, LR, GREY = "#0072B2", "#D55E00", "#009E73", "#555555"
BESIDE = ["#CC79A7", "#56B4E9", "#E69F00", "#000000"]  # further ones of theirs
LARGE, SMALL = 20, 16  # points, on a page 12 inches wide
LOG_FROM = 1.5  # decades; on a linear axis the lower ones would lie flat
PARTS = 1000  # of a line, which are no further apart than the points of a picture
FEW = 40  # rows that can be told apart as dots
CLOSER = 4  # times that all is higher than what the best take, for these to be shown closer
HEAVY = 150_000  # bytes of a picture, whose like would make a page slow to send
T = TypeVar("T")
FAR = 10  # times that another would make it higher, to be left outside


def save(page: Figure, path: Path, form: str = "png") -> Path:
    """Write a picture, whole or not at all, as `path` with the ending of its form; the same picture gives the same
    bytes.

    form: png, svg or pdf; the latter two are of lines and letters, which any magnification keeps sharp.
    """
    path = path.with_suffix(f".{form}")
    with replacing(path) as part:
        part.write_bytes(content(page, form))
    return path


def content(page: Figure, form: str) -> bytes:
    """A picture as a file of this form, see `save`."""
    if form == "png":
        return png(page)
    file = BytesIO()
    undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}[form]
    with rc_context({"svg.hashsalt": "dlrun", "svg.fonttype": "none", "pdf.fonttype": 42}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        page.savefig(file, format=form, metadata=undated)
    return file.getvalue()


def png(page: Figure) -> bytes:
    """A picture as PNG, 100 dots per inch. `Figure.savefig` draws twice, to lay out and to draw: here it is once."""
    canvas, file = cast(FigureCanvasAgg, page.canvas), BytesIO()
    page.set_dpi(100)
    with warnings.catch_warnings():  # a letter that the font lacks is drawn as a box
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        canvas.draw()
    Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3]).save(file, format="png", dpi=(100, 100))
    return file.getvalue()


def smaller(picture: bytes) -> bytes:
    """A PNG that is to stand in a page: a large one with its 256 main colours, in a third of the bytes."""
    if len(picture) < HEAVY:
        return picture
    file = BytesIO()
    Image.open(BytesIO(picture)).quantize(256, dither=Image.Dither.NONE).save(file, format="png", optimize=True)
    return min(file.getvalue(), picture, key=len)


def log_if_wide(axes: Axes, values: np.ndarray, ticks: int = 6) -> bool:
    """Use a logarithmic axis, with so many ticks at most, for positive values that span many decades."""
    if not is_wide(values):
        return False
    decades = np.ptp(np.log10(values[np.isfinite(values)]))
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < ticks / 2 else (1,), numticks=ticks))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    return True


def is_wide(values: np.ndarray) -> bool:
    """Whether values are positive and span many decades."""
    finite = values[np.isfinite(values)]
    return len(finite) > 0 and bool(finite.min() > 0) and float(np.ptp(np.log10(finite))) > LOG_FROM


def whole(axes: Axes) -> None:
    """Ticks of the horizontal axis at whole epochs or steps alone."""
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def competition(spans: Sequence[tuple[float, float]]) -> tuple[float, float, list[int]]:
    """The range that the better half takes, the best first, and all others that do not make it 10 times as high;
    and the places of these others in `spans`."""
    half = spans[: max(2, -(-len(spans) // 2))]
    low, high = min(span[0] for span in half), max(span[1] for span in half)
    outside = []
    for place, (least, greatest) in enumerate(spans[len(half) :], len(half)):
        wider = min(low, least), max(high, greatest)
        if high > low and wider[1] - wider[0] > FAR * (high - low):
            outside.append(place)
        else:
            low, high = wider
    return low, high, outside


def gaps(values: pd.Series | np.ndarray) -> np.ndarray:
    """Infinities have no place on an axis: they become gaps, as NaN does."""
    return np.where(np.isfinite(values), values, np.nan)


def seen(values: pd.Series | np.ndarray) -> np.ndarray:
    """The places of those rows of a line over equal steps that tell it from others at the size of a picture: of many,
    of each of 1,000 parts the first one, the least, the greatest, and one that is not finite."""
    values = np.asarray(values, float)
    if len(values) <= 3 * PARTS:
        return np.arange(len(values))
    finite, parts = np.isfinite(values), list(pairwise(np.linspace(0, len(values), PARTS + 1).astype(int)))
    lows = [np.where(finite, ends, np.inf) for ends in (values, -values)]
    kept = {start + int(of[start:stop].argmin()) for of in (*lows, finite) for start, stop in parts}
    return np.array(sorted(kept | {len(values) - 1, *(start for start, _ in parts)}))


def left_out(drawn: int, of: int, what: str) -> str:
    """What a legend says where not all are drawn: `, 3,012 of 60,001 steps drawn`."""
    return f", {drawn:,} of {of:,} {what} drawn" if drawn < of else ""


def title(folder: str | Path, summary: dict[str, Any]) -> str:
    name = summary.get("name") or Path(folder).resolve().name
    status = summary.get("status", "no summary yet")
    return textwrap.fill(name if status == "finished" else f"{name} ({status.replace('_', ' ')})", 60)


def heading(page: Figure, folder: str | Path, summary: dict[str, Any], told: str) -> None:
    """The run's name above a page, and below it what the picture tells."""
    page.suptitle(f"{title(folder, summary)}\n{told}", fontsize=LARGE, fontweight="bold", parse_math=False)


def shortened(text: str, length: int) -> str:
    """A user's text that is to stand beside an axis."""
    return text if len(text) <= length else text[: length - 1] + "…"


def apart(values: Iterable[float], *, logarithmic: bool = True, most: int = 8) -> list[float]:
    """The values, without those whose labels would run into one another on an axis that has room for so many."""
    own = sorted(set(values))
    places = np.log10(own) if logarithmic else np.array(own)
    kept: list[int] = []
    for at, place in enumerate(places):
        if not kept or place - places[kept[-1]] > (places[-1] - places[0]) / most:
            kept.append(at)
    return [own[at] for at in kept]


def in_order(values: Sequence[T]) -> list[T]:
    """Numbers in their order, also where words among them made words of them; then lists of numbers such as [4,8],
    in theirs, by their first numbers; then words, as they appear."""
    return sorted(values, key=_order)


def _order(value: object) -> tuple[int, list[float]]:
    text = str(value).strip()
    listed = text.startswith("[") and text.endswith("]")
    try:
        numbers = [float(part) for part in (text[1:-1].split(",") if listed else [text])]
    except ValueError:
        return 2, []
    return (int(listed), numbers) if all(map(isfinite, numbers)) else (2, [])
