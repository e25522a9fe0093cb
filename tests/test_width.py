"""The width of stacks: the best of those measured, within what memory allows, and measured only where it pays."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from conftest import config

from dlrun.sweep import width
from dlrun.sweep.width import CPU, GAIN, SHARE, WORTH, Needs, width_for
from dlrun.training.build import plain

GIB = 2**30
LONG = 10**9  #: steps that no worker does in WORTH seconds


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """A pretended one: by width, seconds of a run's step; bytes of a run; bytes free; the widths that were measured."""
    pretended: dict[str, Any] = {"seconds": {}, "memory": 1.0, "free": GIB, "asked": []}

    def measurements(nodes: Sequence[Any], widths: Sequence[int], method: str) -> Iterator[Needs]:
        for each in widths:
            if each not in pretended["seconds"]:
                return
            pretended["asked"].append(each)
            yield Needs(pretended["seconds"][each], pretended["memory"], pretended["free"])

    monkeypatch.setattr(width, "_measurements", measurements)
    monkeypatch.setattr(width, "_cache", lambda: tmp_path / "cache" / "widths.json")
    monkeypatch.setattr(width.sys, "platform", "linux")
    return pretended


def choose(runs: int, steps: int = LONG, params: int = 100, places: int = 2, device: str = "cpu") -> int:
    return width_for([{}] * runs, "a structure", steps, params, places, device, "fork")


def test_the_fastest_of_those_measured_is_chosen_and_no_wider_than_needed(machine: dict[str, Any]) -> None:
    machine["seconds"] = {8: 4.0, 16: 2.0, 32: 1.0, 64: 1.5, 128: 0.1}
    assert choose(1000) == 32
    assert machine["asked"] == [8, 16, 32, 64]  # 64 was slower than 32: nothing wider is looked at


def test_a_gpus_stacks_begin_wider_and_are_measured_further(
    machine: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(width, "_machine", lambda device: device)
    machine["seconds"] = {64: 4.0, 128: 2.0, 256: 1.0, 512: 0.5, 1024: 0.3, 2048: 0.4}
    assert choose(4000, places=1, device="cuda") == 1024
    assert machine["asked"] == [64, 128, 256, 512, 1024, 2048]


def test_what_gains_next_to_nothing_is_not_chosen(machine: dict[str, Any]) -> None:
    machine["seconds"] = {8: 1.0, 16: 0.5, 32: 0.5 * GAIN * 1.001}
    assert choose(80) == 16


def test_measured_once_for_a_structure_and_machine(machine: dict[str, Any]) -> None:
    machine["seconds"] = {8: 4.0, 16: 2.0, 32: 3.0}
    assert choose(1000) == 16
    machine["asked"].clear()
    assert choose(1000) == 16
    assert machine["asked"] == []


@pytest.mark.parametrize("content", ["", "{", "[]", '{"x": 3}'])
def test_a_damaged_cache_is_measured_anew(content: str, machine: dict[str, Any]) -> None:
    machine["seconds"] = {8: 1.0, 16: 2.0}
    width._cache().parent.mkdir()
    width._cache().write_text(content)
    assert choose(1000) == 8
    assert len(json.loads(width._cache().read_text())) >= 1


def test_a_short_sweep_is_measured_once_for_its_memory_only(machine: dict[str, Any]) -> None:
    machine["seconds"] = {8: WORTH / 1000, 16: 0.0}
    share, params = 20, 10
    assert choose(2 * share, steps=1000 // share - 1, params=params) == share
    assert machine["asked"] == [8]


def test_steps_that_become_short_are_measured_no_further_and_stacks_stay_as_wide_as_can_be(
    machine: dict[str, Any],
) -> None:
    machine["seconds"] = {8: 4 * WORTH / 500, 16: 2 * WORTH / 500, 32: 0.9 * WORTH / 500, 64: 0.0}
    assert choose(1000, steps=1) == 500
    assert machine["asked"] == [8, 16, 32]


def test_workers_share_the_memory(machine: dict[str, Any]) -> None:
    machine["seconds"] = {8: 1.0, 16: 0.5, 32: 0.2}
    machine["memory"] = SHARE * GIB / 2 / 20  # for 20 runs in each of two workers
    assert choose(1000) == 16
    assert machine["asked"] == [8, 16]
    machine["memory"] = GIB
    (width._cache()).unlink()
    assert choose(1000) == 1


def test_a_measurement_that_does_not_survive_ends_the_search(machine: dict[str, Any]) -> None:
    machine["seconds"] = {8: 1.0, 16: 0.5}
    assert choose(1000) == 16
    machine["seconds"] = {}
    width._cache().unlink()
    assert choose(1000) == 1


def test_few_runs_and_large_networks_are_not_measured(machine: dict[str, Any]) -> None:
    assert choose(16) == 8
    assert choose(9) == 5  # no place is idle
    assert choose(1000, params=CPU.params // 3) == 3
    assert choose(1000, params=2 * CPU.params) == 1
    assert machine["asked"] == []


@pytest.mark.slow
def test_a_real_measurement() -> None:
    overrides = ["dataset=xor", "architecture.hidden=[4]", "batch_size=full"]
    nodes = [plain(config(*overrides, f"seed={i}")) for i in range(16)]
    first, second = width._measurements(nodes, [2, 16], "fork")
    assert 0 < second.seconds < first.seconds < 1  # many tiny rows cost hardly more than few
    assert 0 < second.memory < GIB and first.free > 0


def test_a_killed_measurement_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(width, "_measure", lambda nodes, widths, connection: os.kill(os.getpid(), signal.SIGKILL))
    assert list(width._measurements([{}], [2], "fork")) == []
