"""What encodes new rows as a run's were encoded, in a form that its folder keeps."""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from typing import Any

import numpy as np

from dlrun.datasets.data import Samples
from dlrun.datasets.scale import Scaling


class Encoding:
    """How rows of a source became a dataset's tensors; docs/encoding.md tells how to read it.

    Args:
        samples: from the source.
        medians: what missing numbers were filled with, by column; None where none were missing.
        inputs, targets: their scaling; that of the targets is for a regression.
        precision: of the tensors.
    """

    def __init__(
        self, samples: Samples, medians: np.ndarray | None, inputs: Scaling, targets: Scaling, precision: str
    ) -> None:
        self.inputs, self.targets, self.matrix = inputs, targets, inputs.matrix
        self._source, self._medians, self._precision = samples.encoding, medians, precision
        self._shape, self._features = list(samples.inputs.shape[1:]), samples.feature_names
        self._task, self._outputs = samples.task, int(np.prod(samples.targets.shape[1:]))
        count = 2 if samples.task == "binary" else 0 if samples.task == "regression" else int(samples.targets.max()) + 1
        self._classes = samples.class_names or [str(number) for number in range(count)]

    @cached_property
    def text(self) -> str:
        """The content of encoding.json."""
        inputs: dict[str, Any] = {"shape": self._shape, "features": self._features}
        if self._medians is not None:
            inputs["missing"] = self._medians.tolist()
        inputs |= _numbers(self.inputs)
        if self.matrix is not None:
            inputs["matrix"] = self.matrix_file
        of = {"outputs": self._outputs} if self._task == "regression" else {"classes": self._classes}
        targets = {"task": self._task, **of, **_numbers(self.targets)}
        whole = {"source": self._source, "inputs": inputs, "targets": targets, "precision": self._precision}
        lines = [f"{json.dumps(key)}: {json.dumps(value, allow_nan=False)}" for key, value in whole.items()]
        return "{\n" + ",\n".join(lines) + "\n}\n"

    @cached_property
    def matrix_file(self) -> str:
        """The name of the file that holds the matrix: different ones have different names."""
        return f"zca-{hashlib.blake2b(np.ascontiguousarray(self.matrix).data, digest_size=8).hexdigest()}.safetensors"


def _numbers(scaled: Scaling) -> dict[str, Any]:
    """What `Scaling` computes with, without the axis of the rows."""
    if scaled.offset is None:
        return {}
    found = {"subtract": scaled.offset[0].tolist()}
    if scaled.matrix is None:
        assert scaled.divisor is not None
        found |= {"divide": scaled.divisor[0].tolist(), "multiply": scaled.factor, "add": scaled.shift}
    return found
