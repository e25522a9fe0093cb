"""Independent random streams of a run, one per purpose, all from its seed.

Two runs with the same seed that differ in their optimizer start from the same weights and see the same batches.
"""

from __future__ import annotations

import numpy as np
from torch import Generator

WEIGHTS, ORDER, NOISE, STRUCTURE, CURVATURE = range(5)
#: STRUCTURE: what an architecture draws itself, such as RBF centres. CURVATURE: vectors that diagnostics multiply.


def seed_of(seed: int, *purpose: int) -> int:
    """A 63-bit seed for one purpose (and, say, one epoch) of the run with this seed."""
    return int(np.random.SeedSequence([seed, *purpose]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def generator(seed: int, *purpose: int) -> Generator:
    """A generator on the CPU that starts from `seed_of`, so that every device draws the same numbers."""
    return Generator().manual_seed(seed_of(seed, *purpose))
