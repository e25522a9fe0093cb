"""Steps that were built once are loaded by whoever takes the same step, and by nobody else."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from dlrun.matrix import libraries
from dlrun.matrix.trace import Recording
from dlrun.training.stack import Stack
from dlrun.training.step import _compiled


class Loaded:
    """In place of PyTorch's loader: a library is a text file with the factor that it multiplies by."""

    def __init__(self, path: str, _: int) -> None:
        text = Path(path).read_text()
        if not text.isdigit():
            raise RuntimeError("no library")
        self.factor = int(text)

    def run(self, inputs: list[Tensor]) -> list[Tensor]:
        return [inputs[0] * self.factor]


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(torch._C._aoti, "AOTIModelContainerRunnerCpu", Loaded)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    return tmp_path / "steps"


def asked(built: list[str], size: int = 3, factor: float = 2, fails: bool = False) -> Callable[..., tuple[Tensor, ...]]:
    """The library of `x * factor` for x of this size."""
    inputs = [torch.ones(size)]
    graph, memory = Recording(lambda x: (x * factor,), inputs)._graph(hoist=False)

    def build(path: Path) -> None:
        built.append(path.parent.name)
        (path.parent / "sources.cpp").write_text("...")
        path.write_text(str(int(factor)))
        if fails:
            raise NotImplementedError("an operation")

    return libraries.library(graph, [*memory, *inputs], build)


def test_a_library_is_built_once_and_left_alone_with_its_digests(folder: Path) -> None:
    built: list[str] = []
    for _ in range(3):
        assert torch.equal(asked(built)(torch.ones(3))[0], 2 * torch.ones(3))
    assert len(built) == 1
    [kept] = folder.iterdir()  # no lock, and nothing half made
    assert {path.name for path in kept.iterdir()} == {libraries.LIBRARY, libraries.DIGESTS}


def test_what_differs_in_operations_sizes_threads_or_versions_is_another(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[str] = []
    asked(built), asked(built, size=4), asked(built, factor=3)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(threads + 1)
        asked(built)
    finally:
        torch.set_num_threads(threads)
    monkeypatch.setattr(torch, "__version__", "99")
    libraries._of_this_machine.cache_clear()
    asked(built)
    libraries._of_this_machine.cache_clear()
    assert len(built) == len(set(built)) == 5


def test_inputs_that_share_memory_are_another_library() -> None:
    whole = torch.zeros(4)
    graph, _ = Recording(lambda x, y: (x + y,), [whole[:2], whole[2:]])._graph(hoist=False)
    together, apart = [whole[:2], whole[2:]], [torch.zeros(2), torch.zeros(2)]
    assert libraries._key(graph, together) != libraries._key(graph, apart)


@pytest.mark.parametrize("harm", ["another", "cut", "no digests", "gone"])
def test_a_file_that_is_not_as_it_was_written_is_built_again(harm: str, folder: Path) -> None:
    built: list[str] = []
    asked(built)
    [kept] = folder.iterdir()
    if harm == "another":
        (kept / libraries.LIBRARY).write_text("7")
    elif harm == "cut":
        (kept / libraries.LIBRARY).write_text("")
    elif harm == "no digests":
        (kept / libraries.DIGESTS).write_text("[")
    else:
        (kept / libraries.LIBRARY).unlink()
    assert asked(built)(torch.ones(3))[0][0] == 2 and len(built) == 2
    assert asked(built)(torch.ones(3))[0][0] == 2 and len(built) == 2


def test_what_a_killed_build_left_goes_with_the_next(folder: Path) -> None:
    built: list[str] = []
    asked(built)
    [kept] = folder.iterdir()
    kept.rename(folder / f".{kept.name}.0123456789abcdef")
    asked(built)
    assert len(built) == 2 and list(folder.iterdir()) == [kept]


def test_a_library_that_cannot_be_built_leaves_nothing(folder: Path) -> None:
    with pytest.raises(NotImplementedError):
        asked([], fails=True)
    assert [path for path in folder.iterdir() if path.is_dir()] == []


def test_those_used_longest_ago_make_room(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[str] = []
    for factor in (2, 3, 4):
        asked(built, factor=factor)
    kept = sorted(folder.iterdir(), key=lambda path: (path / libraries.LIBRARY).read_text())
    for age, path in zip((30, 10, 20), kept, strict=True):  # the first, of the factor 2, was used longest ago
        os.utime(path, (time.time() - age,) * 2)
    asked(built, factor=2)  # used again: now it is that of 4
    monkeypatch.setattr(libraries, "ROOM", 3 * sum(path.stat().st_size for path in kept[0].iterdir()))
    asked(built, factor=5)
    assert sorted((path / libraries.LIBRARY).read_text() for path in folder.iterdir()) == ["2", "3", "5"]


def test_of_those_who_want_the_same_one_builds(folder: Path) -> None:
    built: list[str] = []
    inputs = [torch.ones(3)]
    graph, memory = Recording(lambda x: (x * 2,), inputs)._graph(hoist=False)

    def build(path: Path) -> None:
        built.append(path.name)
        time.sleep(0.05)
        path.write_text("2")

    def want() -> None:
        found.append(libraries.library(graph, [*memory, *inputs], build)(torch.ones(3))[0])

    found: list[Tensor] = []
    threads = [threading.Thread(target=want) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(built) == 1 and len(found) == 4


def test_a_step_that_no_library_can_take_is_compiled_in_the_process_and_told(
    stack_of: Callable[..., Stack], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An operation of one's own, say; that the disk is full is told as such, and nothing is tried in its place."""
    problem: Exception = NotImplementedError("no entry for mine::twice\nof many lines")

    def refuse(recording: Recording) -> None:
        raise problem

    monkeypatch.setattr(Recording, "as_library", refuse)
    monkeypatch.setattr(Recording, "compiled", lambda recording: "compiled")
    stack = stack_of("dataset=iris", "architecture.hidden=[4]", "steps=1")
    recording = Recording(lambda x: (x * 2,), [torch.ones(3)])
    assert _compiled(stack, recording) == "compiled"  # type: ignore[comparison-overlap]
    assert [told.endswith("by each: no entry for mine::twice") for told in stack.remarks] == [True]
    problem = OSError(28, "No space left on device")
    with pytest.raises(OSError, match="No space"):
        _compiled(stack, recording)
