"""The working directory may be a stranger's: no library takes code or settings from files that lie there."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def keep_out() -> None:
    """Processes that libraries start (`python -c`, `python -m`: joblib, submitit, PyTorch's compiler) import nothing
    from the working directory, from Python 3.11 on, unless this one does, as under `python -m dlrun`."""
    if not {"", working_directory()} & set(sys.path):
        os.environ.setdefault("PYTHONSAFEPATH", "1")


def load_matplotlib() -> None:
    """Import matplotlib from where no `matplotlibrc` lies, since it takes that of the working directory before the
    user's own: one may have it start LaTeX, or be a pipe."""
    before = working_directory()
    if before:
        os.chdir(Path(__file__).parent)
    try:
        import matplotlib  # noqa: F401
    finally:
        if before:
            os.chdir(before)


def working_directory() -> str | None:
    """Its path; None where it has been deleted, and nothing lies there."""
    try:
        return os.getcwd()
    except OSError:
        return None
