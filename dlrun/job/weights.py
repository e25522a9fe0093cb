"""The networks that a run left in its folder, read back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from dlrun.errors import ConfigError
from dlrun.folder.contents import read_bytes
from dlrun.folder.names import BEST, LAST

WEIGHTS = {"best": BEST, "last": LAST}


def read_weights(folder: Path, file: str) -> dict[str, Tensor]:
    """A run's parameters and running averages, by name. Raises ConfigError where the file cannot be read."""
    try:
        return load(read_bytes(folder, file))
    except FileNotFoundError as problem:
        raise ConfigError(f"{folder} has no weights: there is no {file}") from problem
    except (SafetensorError, OSError) as problem:
        raise ConfigError(f"{folder / file} cannot be read as safetensors ({problem})") from problem


def refuse_unlike(file: Path, wrong: Sequence[str]) -> None:
    """Raise ConfigError where a file of weights and the network of its run differ in these names, see `unlike`."""
    if wrong:
        raise ConfigError(f"{file} is not of this run's network: {', '.join(wrong)}")
