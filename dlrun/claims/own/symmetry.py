"""Whether the units of a hidden layer tell each other apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import load

from dlrun.files.opening import read_bytes
from dlrun.folder.names import arrays_of


def spread(folder: Path) -> float:
    r"""How far the units of the first hidden layer ever differ, over all moments that `trajectory` kept of a training.

    $$\max_t \max_{i, j, k} |W_{ik}(t) - W_{jk}(t)| \;/\; \max_t \max_{i, k} |W_{ik}(t)|$$

    for the weights $W_{ik}$ of unit i for input k; 0 where all weights are 0.

    Reference: lectures 002, 004 (symmetry breaking).
    """
    arrays = load(read_bytes(folder, arrays_of("trajectory")))
    weight = arrays[min(name for name in arrays if name.endswith("weight"))]  # (moments, units, inputs)
    largest = float(np.abs(weight).max())
    return float(np.ptp(weight, axis=1).max()) / largest if largest else 0.0
