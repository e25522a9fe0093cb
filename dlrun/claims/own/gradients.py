"""Single derivatives, read off a step of plain gradient descent."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from safetensors.numpy import load

from dlrun.files.opening import read_bytes
from dlrun.folder.names import arrays_of


def derivative(folder: Path, parameter: str, place: Sequence[int], lr: float) -> float:
    r"""A derivative of the loss, from the first step of `optimizer=sgd`.

    $$\partial L / \partial \theta_i = (\theta_{0,i} - \theta_{1,i}) / \text{lr}$$

    parameter: its name, as `4.weight`. place: the entry's, in the parameter's own shape.
    """
    path = load(read_bytes(folder, arrays_of("trajectory")))[parameter]
    return float((path[(0, *place)] - path[(1, *place)]) / lr)
