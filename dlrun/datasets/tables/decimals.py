"""Whether a table's numbers have a decimal point or a decimal comma."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from dlrun.datasets.tables.columns import Raw
from dlrun.errors import ConfigError


def decimal_of(raws: Sequence[Raw], separator: str | None, categories: Collection[str], file: Path) -> str:
    """point or comma: by which more than half of some column's texts are numbers that they are not by the other.

    1,5 and 1.234.567 are numbers by the comma alone, 1,234.5 by the point alone; 1,234 and 1.234 by both, which tell
    nothing. There it is the point, but where the columns' separator makes the comma likely: anything but commas for
    1,234, semicolons for 1.234. `categories` are columns that hold no numbers.

    Raises ConfigError where columns disagree, or no column tells and it would matter.
    """
    raws = [raw for raw in raws if raw.stored == "text" and raw.name not in categories and raw.texts]
    doubtful = re.compile(r"[.,]" if separator == "semicolon" else r",|\..*\.")
    if not any(doubtful.search("\n".join(raw.texts)) for raw in raws):  # a point matches no line's end
        return "point"
    votes: dict[str, str] = {}  # by point or comma: a column that asks for it
    undecided = ""
    for raw in raws:
        point, comma = raw.by_point[0], raw.by_comma[0]
        by_point, by_comma = ~np.isnan(point), ~np.isnan(comma)
        if (by_point | by_comma).mean() <= 0.5:
            continue
        only_point, only_comma = int((by_point & ~by_comma).sum()), int((by_comma & ~by_point).sum())
        if only_point != only_comma:
            text = raw.texts[int(np.argmax(by_point != by_comma))]
            votes.setdefault("point" if only_point > only_comma else "comma", f"{raw.name!r} ({text!r})")
        elif (differ := by_point & by_comma & (point != comma)).any():
            text = raw.texts[int(np.argmax(differ))]
            mark = "comma" if "," in text else "point"
            if separator == "semicolon" or (separator != "comma" and mark == "comma"):
                undecided = undecided or f"in {raw.name!r} ({text!r}) the {mark}"
    if len(votes) == 2:
        raise ConfigError(
            f"{file}: {votes['point']} has a decimal point and {votes['comma']} a decimal comma: dataset.decimal=point "
            "or comma says which; columns that are no numbers then are taken as texts"
        )
    if votes:
        return next(iter(votes))
    if undecided:
        raise ConfigError(
            f"{file}: {undecided} may stand before decimals or between thousands: dataset.decimal=comma or "
            "dataset.decimal=point"
        )
    return "point"
