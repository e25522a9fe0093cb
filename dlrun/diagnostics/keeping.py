"""The parameters that diagnostics keep while a training goes on, in a file that grows, and what they show at the end.

A file of records: the steps done, as 8 bytes, then a run's theta, all of them little-endian.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlrun.diagnostics.diagnostic import Diagnostic, Keeping, View
from dlrun.diagnostics.finished import Progress, why, write
from dlrun.files.opening import read_bytes
from dlrun.folder.names import kept_of
from dlrun.training.stack import Stack

LARGEST = 2**30  #: bytes of what is kept of one run: it is read whole at the end


def keeping(chosen: Mapping[str, Diagnostic]) -> dict[str, Keeping]:
    """Those of them that keep something until the end."""
    return {name: each for name, each in chosen.items() if isinstance(each, Keeping)}


def packed(step: int, theta: Tensor) -> bytes:
    """A record of a run's parameters, (params,)."""
    numbers = theta.cpu().numpy()
    return np.int64(step).astype("<i8").tobytes() + numbers.astype(numbers.dtype.newbyteorder("<")).tobytes()


def unpacked(content: bytes, like: Tensor) -> tuple[Tensor, Tensor]:
    """Steps, (records,), and parameters, (records, params), of records of parameters like these."""
    numbers = like.cpu().numpy().dtype
    record = np.dtype([("step", "<i8"), ("theta", numbers.newbyteorder("<"), (len(like),))])
    records = np.frombuffer(content, record)
    return torch.from_numpy(records["step"].astype(np.int64)), torch.from_numpy(records["theta"].astype(numbers))


@torch.no_grad()
def conclude(stack: Stack, folders: Sequence[Path], progress: Progress) -> list[dict[str, Any]]:
    """Have the diagnostics that kept something tell what it shows, and write it into the runs' folders.

    Returns what each run's summary says of them, as `finished.look` does. One run's at a time, since what is kept may
    be large.
    """
    told: list[dict[str, Any]] = [{} for _ in folders]
    for name, each in keeping(stack.diagnostics).items():
        for run, folder in enumerate(folders):
            try:
                steps, path = unpacked(read_bytes(folder, kept_of(name), LARGEST), stack.theta[run])
                found = each.conclude(View(stack, stack.steps, progress=progress), run, steps, path)
            except OSError:  # the disk's fault
                raise
            except (Exception, SystemExit) as problem:
                told[run][name] = {"failed": why(problem)}
                continue
            told[run][name] = write(folder, name, found)
    return told
