"""A run's predictor as one file that other programs compute with: ONNX, or PyTorch's exported program."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import dlrun
from dlrun.errors import ConfigError
from dlrun.files.replacing import refuse_existing, replacing
from dlrun.loading.predictor import Predictor
from dlrun.loading.run import LoadedRun

NEEDED = "pip install onnx onnxruntime onnxscript"
TOLERANCE = 1e-5  #: of the outputs' size, by which a file may differ from the network that it was made of
ROWS = 5  #: on which it is tried


def export(run: LoadedRun, form: str, file: Path) -> dict[str, Any]:
    """Write a run's `Predictor` to a file; returns what goes into it and comes out, as the file tells, too.

    In go rows of numbers (rows, *shape) as the source has them: scaling, the filling of missing numbers, and what
    outputs mean are part of the graph; a table's texts and dates are not, whose features are named in what the file
    tells. Any number of rows may be given at a time. ONNX keeps it in its metadata (`dlrun`), torch.export in the extra
    file `dlrun.json`.

    Raises ConfigError where the file is there already, the network cannot be exported, or what was exported computes
    something else than the network does.
    """
    refuse_existing(file)
    predictor = run.predictor
    if form == "onnx":
        _need_onnx()
    told = {
        "dlrun": dlrun.__version__,
        "input": {"shape": ["rows", *run.encoding.shape], "features": run.encoding.features},
        "output": {"shape": ["rows", len(predictor.columns)], "columns": predictor.columns},
        "task": predictor.data.task,
        "classes": predictor.data.class_names,
    }
    rows = _rows(predictor)
    name = str(run.config["architecture"].get("_target_")).rpartition(".")[2]
    try:
        with torch.no_grad(), _quiet():
            program: Any = torch.export.export(
                predictor, (rows[:2],), dynamic_shapes=({0: torch.export.Dim("rows", min=1)},), strict=False
            )
            content = _onnx(program, rows, told) if form == "onnx" else _torch(program, told)
            given = _run_onnx(content, rows) if form == "onnx" else _run_torch(content, rows)
    except Exception as problem:  # torch's exporters raise anything
        why = " ".join(str(problem).split())
        raise ConfigError(f"{run.folder}: {name} cannot be exported as {form}: {why[:300]}") from problem
    with torch.no_grad():
        wanted = predictor(rows)
    off = float((given - wanted).abs().max()) / max(1.0, float(wanted.abs().max()))
    if not off <= TOLERANCE:
        raise ConfigError(
            f"{run.folder}: exported as {form} {name} computes something else, off by {off:.1e}: nothing is written"
        )
    with replacing(file) as part:
        part.write_bytes(content)
    return told


def _rows(predictor: Predictor) -> Tensor:
    """Rows like those of the training part, drawn."""
    noise = torch.randn(ROWS, *predictor.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    buffers = dict(predictor.named_buffers(recurse=False))
    if "divisor" in buffers:
        noise = noise * buffers["divisor"] + buffers["offset"]
    elif "offset" in buffers:
        noise = noise + buffers["offset"].reshape(1, *predictor.shape)
    return noise.to(predictor.precision)


def _torch(program: Any, told: dict[str, Any]) -> bytes:
    content = io.BytesIO()
    torch.export.save(program, content, extra_files={"dlrun.json": json.dumps(told)})
    return content.getvalue()


def _run_torch(content: bytes, rows: Tensor) -> Tensor:
    found: Tensor = torch.export.load(io.BytesIO(content)).module()(rows)
    return found


def _onnx(program: Any, rows: Tensor, told: dict[str, Any]) -> bytes:
    exported: Any = torch.onnx.export(
        program,
        (rows[:2],),
        dynamo=True,
        external_data=False,
        input_names=["rows"],
        output_names=["predictions"],
        verbose=False,
    )
    model = exported.model_proto
    entry = model.metadata_props.add()
    entry.key, entry.value = "dlrun", json.dumps(told)
    content: bytes = model.SerializeToString()
    return content


def _run_onnx(content: bytes, rows: Tensor) -> Tensor:
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return torch.from_numpy(np.asarray(session.run(None, {session.get_inputs()[0].name: rows.numpy()})[0]))


def _need_onnx() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as problem:
        raise ConfigError(f"--format onnx needs the extra dlrun[onnx] ({problem}): {NEEDED}") from problem


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporters tell of every pass that they make, and warn of their own parts."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
