"""Texts in CSV files that a spreadsheet would take for formulas, and compute."""

from __future__ import annotations

import re

from dlrun.config.words import is_number

FORMULA = re.compile("'*[=+@\t\r-]")  #: how such a text begins


def guarded(cell: str) -> str:
    """A cell that spreadsheets show and do not run: an apostrophe goes before a text that looks like a formula."""
    return f"'{cell}" if FORMULA.match(cell) and not is_number(cell) else cell


def unguarded(cell: str) -> str:
    """The cell that `guarded` was given."""
    return cell[1:] if cell.startswith("'") and FORMULA.match(cell) else cell
