"""dlrun: a command-line experiment runner for deep learning, whose runs and sweeps Python loads."""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from dlrun.loading.run import LoadedRun
    from dlrun.loading.sweep import LoadedSweep

# Before MKL starts, in every process: else it takes other kernels for a row of a stack than for the run alone, by how
# the row's memory is aligned. It costs nothing that could be measured. ("AUTO,STRICT" costs a fifth.)
os.environ.setdefault("MKL_CBWR", "AUTO")

__version__ = "0.2.0"


def load(
    folder: str | os.PathLike[str], which: Literal["best", "last"] = "best", allow_targets: Collection[str] = ()
) -> LoadedRun:
    """The run in a folder: `.config`, `.metrics`, `.summary`, `.model`, and `.predict(rows)`.

    Nothing in the folder is run, and nothing of it is read before it is asked for.

    Args:
        folder: of a run, as a command or a sweep has left it.
        which: the parameters: those of the best validation loss, or the last.
        allow_targets: packages of your own whose classes the network is made of, as on the command line.

    Raises ConfigError, a ValueError, with one message for what is wrong.
    """
    from dlrun.loading.run import LoadedRun

    return LoadedRun(os.fspath(folder), which, allow_targets)


def load_sweep(folder: str | os.PathLike[str]) -> LoadedSweep:
    """The sweep in a folder: `.runs`, `.curves`, `.settings()`, and `.run(name)`.

    Raises ConfigError, a ValueError, with one message for what is wrong.
    """
    from dlrun.loading.sweep import LoadedSweep

    return LoadedSweep(os.fspath(folder))
