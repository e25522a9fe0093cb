"""What a training takes of the machine."""

from __future__ import annotations

import platform
from collections.abc import Callable

import pytest
import torch
from conftest import config

from dlrun.errors import ConfigError
from dlrun.job.folders import _notes
from dlrun.training.build import plain
from dlrun.training.machine import compiles, memory_kept
from dlrun.training.stack import Stack

CPU = torch.device("cpu")


def test_only_long_trainings_compile_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: f"/bin/{name}")
    assert compiles("auto", 10**6, 1000, CPU) and not compiles("auto", 1000, 1000, CPU)
    assert compiles("auto", 10**4, 10**7, CPU) and not compiles("auto", 10**4, 1000, CPU)
    assert compiles(True, 1, 1, CPU) and not compiles(False, 10**9, 10**9, CPU)


def test_what_the_compiler_would_not_end_is_not_begun(stack_of: Callable[..., Stack]) -> None:
    long = ["dataset=sequences", "architecture=lstm", "architecture.hidden=[4,4]", "epochs=100000"]
    longer = [*long, "dataset.length=6"]
    stack = stack_of(*longer)
    assert not stack.compile
    told = next(_notes(plain(config(*longer)), stack, 0))
    assert told.startswith("compile=auto: not compiled, since recurrent layers over 12 times in all")
    with pytest.raises(ConfigError, match=r"compile=true: recurrent layers over 12 times in all"):
        stack_of(*longer, "compile=true")
    assert stack_of(*long, "dataset.length=5").compile


def test_without_a_compiler_a_long_training_says_so_and_goes_on(
    stack_of: Callable[..., Stack], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(ConfigError, match=r"compile=true: no C\+\+ compiler"):
        compiles(True, 1, 1, CPU)
    for steps, notes in (
        (10**6, ["compile=auto: not compiled, since no C++ compiler (g++ or clang++) is found"]),
        (9, []),
    ):
        overrides = "dataset=iris", "architecture.hidden=[4]", f"steps={steps}", "batch_size=full"
        stack = stack_of(*overrides)
        assert not stack.compile
        assert list(_notes(plain(config(*overrides)), stack, 0)) == notes


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries keep memory as they please")
def test_memory_of_large_tensors_is_kept_for_the_next() -> None:
    """Counted are the pages that the system gives, thousands for 64 MiB; at times no hole is wide enough."""
    resource = pytest.importorskip("resource")

    def pages() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(2**24)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    with memory_kept():
        assert min(pages() for _ in range(30)) < 10
