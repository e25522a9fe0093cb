"""Recorded programs as shared libraries: TorchInductor builds one in half a minute, and it is loaded in milliseconds.

They lie in the compiler's cache, a folder each, named after all that they were made of and for: the operations and
their tensors' sizes, the versions of PyTorch and of the compiler, the processor and the threads. Where any of these
differs, another is built. `compile=auto` does not ask what lies there: the same command gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import secrets
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx

STEPS = "steps"  #: in the compiler's cache, with a folder for each library
LIBRARY, DIGESTS = "step.so", "digests.json"
OTHERS = ("extern_kernel_nodes.json",)  #: which a library reads where it has no entry of its own for an operation
FORM = 1  #: raised where libraries come to be built, or called, otherwise: older ones are not loaded then
ROOM = 2**28  #: bytes that all libraries may take; a small network's takes 2 MiB

Library = Callable[..., tuple[Tensor, ...]]


def library(graph: fx.Graph, inputs: Sequence[Tensor], build: Callable[[Path], None]) -> Library:
    """The graph as a function of its inputs, loaded from the cache, or built into it first.

    A file that is not as it was written is not loaded, and built again. Processes that want the same library wait for
    the one that builds it; those used longest ago make room.

    build: makes the library at a path. What it raises is passed on, and nothing is kept.
    """
    folder = cache_folder() / _key(graph, inputs)
    loaded = _loaded(folder)
    if loaded is None:
        from filelock import FileLock

        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = folder.with_suffix(".lock")
        with FileLock(lock):
            loaded = _loaded(folder) or _built(folder, build)
            lock.unlink(missing_ok=True)  # whoever waits for it still gets it, and finds the library
        _make_room(folder)
    return loaded


def cache_folder() -> Path:
    """Where the libraries lie: in the folder that `machine.not_compiled` has made sure is the user's own."""
    return Path(os.environ["TORCHINDUCTOR_CACHE_DIR"]) / STEPS


def _built(folder: Path, build: Callable[[Path], None]) -> Library:
    for left in folder.parent.glob(f".{folder.name}.*"):  # by a process that was killed: who builds holds the lock
        shutil.rmtree(left, ignore_errors=True)
    made = folder.with_name(f".{folder.name}.{secrets.token_hex(8)}")
    made.mkdir(mode=0o700)
    try:
        build(made / LIBRARY)
        for path in made.iterdir():  # its sources
            if path.name not in (LIBRARY, *OTHERS):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        (made / DIGESTS).write_text(json.dumps(_digests(made)))
        shutil.rmtree(folder, ignore_errors=True)  # what could not be loaded
        os.replace(made, folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    loaded = _loaded(folder)
    if loaded is None:
        raise RuntimeError(f"the library in {folder} cannot be loaded right after it was built")
    return loaded


def _loaded(folder: Path) -> Library | None:
    """The library in this folder; None where there is none, or not the one that was written."""
    try:
        if json.loads((folder / DIGESTS).read_text()) != _digests(folder):
            return None
        runner = torch._C._aoti.AOTIModelContainerRunnerCpu(str(folder / LIBRARY), 1)
    except (OSError, ValueError, RuntimeError):  # another process may be making room
        return None
    with suppress(OSError):
        os.utime(folder)  # used now
    return partial(_run, runner)


def _run(runner: Any, *inputs: Tensor) -> tuple[Tensor, ...]:
    return tuple(runner.run(list(inputs)))


def _digests(folder: Path) -> dict[str, str]:
    files = {name: folder / name for name in (LIBRARY, *OTHERS) if (folder / name).exists()}
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}


def _make_room(kept: Path) -> None:
    """Delete the libraries used longest ago until all take no more than `ROOM`, this one apart."""
    with suppress(OSError):
        folders = [path for path in kept.parent.iterdir() if path.is_dir() and path != kept]
        sizes = {path: sum(file.stat().st_size for file in path.iterdir()) for path in (kept, *folders)}
        for folder in sorted(folders, key=lambda path: path.stat().st_mtime):
            if sum(sizes.values()) <= ROOM:
                return
            shutil.rmtree(folder, ignore_errors=True)
            del sizes[folder]


def _key(graph: fx.Graph, inputs: Sequence[Tensor]) -> str:
    """What a library is made of and for, as a name for its folder."""
    storages: dict[int, int] = {}  # which inputs share memory
    described = [
        (tuple(t.shape), t.stride(), str(t.dtype), storages.setdefault(t.untyped_storage()._cdata, len(storages)))
        for t in inputs
    ]
    operations = [(n.name, n.op, str(n.target), repr(n.args), repr(n.kwargs)) for n in graph.nodes]
    made_for = [described, operations, torch.get_num_threads(), _of_this_machine()]
    return hashlib.sha256(repr(made_for).encode()).hexdigest()[:32]


@cache
def _of_this_machine() -> list[Any]:
    compiler = shutil.which(os.environ.get("CXX", "g++")) or shutil.which("clang++") or ""
    found = os.stat(compiler) if compiler else None
    options = sorted((k, v) for k, v in os.environ.items() if k.startswith(("TORCHINDUCTOR_", "AOT_INDUCTOR_")))
    return [
        FORM,
        torch.__version__,
        torch.version.git_version,
        platform.machine(),
        torch.backends.cpu.get_cpu_capability(),
        _processor(),
        os.path.realpath(compiler),
        found and (found.st_size, found.st_mtime),
        [(name, value) for name, value in options if name != "TORCHINDUCTOR_CACHE_DIR"],
    ]


def _processor() -> list[str]:
    """Its name and what it can do, for which the compiler chooses instructions."""
    try:
        lines = Path("/proc/cpuinfo").read_text().partition("\n\n")[0].splitlines()
    except OSError:
        return [platform.processor()]
    return [line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part"))]
