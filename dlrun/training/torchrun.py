"""What torchrun tells a process that it started: which one of how many it is. Imports nothing heavy."""

from __future__ import annotations

import os


def processes() -> int:
    """How many train one run together, on all machines."""
    return _told("WORLD_SIZE", 1)


def rank() -> int:
    """This process's number among them; number 0 leads."""
    return _told("RANK", 0)


def local_processes() -> int:
    """How many of them are on this machine."""
    return _told("LOCAL_WORLD_SIZE", 1)


def local_rank() -> int:
    """This process's number among those."""
    return _told("LOCAL_RANK", 0)


def _told(name: str, alone: int) -> int:
    return int(os.environ[name]) if "TORCHELASTIC_RUN_ID" in os.environ else alone
