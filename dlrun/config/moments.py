"""A moment of a training, in epochs or in steps."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dlrun.errors import ConfigError


@dataclass(frozen=True)
class Moment:
    """So many epochs of a training, or so many of its steps."""

    number: float
    in_steps: bool = False

    @classmethod
    def parse(cls, key: str, value: float | str) -> Moment:
        """Epochs, or steps as in `200steps`. Raises ConfigError for anything else, naming the key."""
        if not isinstance(value, str):
            return cls(value)
        match = re.fullmatch(r"0*([1-9]\d{0,14}) ?steps?", value, re.ASCII)
        if not match:
            raise ConfigError(f"{key}={value}: write epochs, such as 1 or 0.5, or steps, such as 200steps")
        return cls(int(match[1]), in_steps=True)

    def reached(self, epoch: float, step: int) -> bool:
        """Whether a training that has come so far is there, or beyond."""
        return (step if self.in_steps else epoch) >= self.number

    def __str__(self) -> str:
        return f"{'step' if self.in_steps else 'epoch'} {self.number:g}"
