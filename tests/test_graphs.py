"""Programs as graphs of a device, by a stand-in: the same numbers as without, and a plain word where it fails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import Rows, config
from torch import Tensor

from dlrun.job.folders import Folders
from dlrun.matrix import graphs
from dlrun.matrix.graphs import CudaGraph, captured
from dlrun.training.build import build, plain
from dlrun.training.evaluation import Row
from dlrun.training.train import fit


class Repeated:
    """Keeps what a CUDA graph keeps: inputs are read, and outputs written, where they were when it was captured."""

    def capture(self, call: Callable[[], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        self.call, self.outputs = call, call()
        return self.outputs

    def replay(self) -> None:
        for output, again in zip(self.outputs, self.call(), strict=True):
            output.copy_(again)


class Refusing(Repeated):
    """Cannot wait for the device."""

    def capture(self, call: Callable[[], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        raise RuntimeError("operation not permitted\nwhen stream is capturing")


def test_what_an_earlier_call_returned_stays_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "graph_of", lambda device: Repeated())
    memory = torch.ones(3)

    def program(x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        memory.add_(x)
        return memory * y, x - y

    call = captured(program, [torch.zeros(3), torch.zeros(3)], refused=pytest.fail)
    memory.fill_(1)
    first = call(torch.full((3,), 2.0), torch.full((3,), 10.0))
    second = call(torch.full((3,), 4.0), torch.full((3,), 100.0))
    assert [each.tolist() for each in first] == [[30] * 3, [-8] * 3]
    assert [each.tolist() for each in second] == [[700] * 3, [-96] * 3]


def test_rows_of_a_block_are_counted_by_the_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever order they come in: rows of one tensor, of another, of one too long for a block, and other tensors."""
    monkeypatch.setattr(graphs, "graph_of", lambda device: Repeated())
    monkeypatch.setattr(graphs, "ROWS", 4)
    one, other, long = (torch.randn(rows, 2, 3) for rows in (4, 3, 5))
    call = captured(lambda x, y: (x * 2, x + y), [one[0], torch.zeros(())], refused=pytest.fail)
    place = call.arguments[0]  # type: ignore[attr-defined]
    given = [one[0], one[1], one[2], one[0], other[1], other[2], torch.ones(2, 3), long[4], long[3], one[3], one[1:][1]]
    counted = [(each._base is one or each._base is other) for each in given]
    for i, x in enumerate(given):
        doubled, added = call(x, torch.tensor(float(i)))
        assert torch.equal(doubled, 2 * x) and torch.equal(added, x + i)
        assert (place.source is not None) == counted[i]
    copied: list[Tensor] = []
    monkeypatch.setattr(torch.Tensor, "copy_", lambda own, *args, **kwargs: copied.append(own))
    for x in one.unbind()[3:] + other.unbind():
        place.give(x)
    assert len(copied) == 1  # of `other`, as a whole


NETWORKS = {
    "noise, a smaller last batch, runs that leave": [
        *["dataset=iris", "architecture.hidden=[8]", "regularizer=[dropout,early_stopping]", "optimizer=adam"],
        *["regularizer.early_stopping.patience=1", "batch_size=32", "epochs=25", "lr=0.1"],
    ],
    "batch norm, running columns, averages of its own": [
        *["dataset=iris", "architecture.hidden=[6]", "normalization=batch", "regularizer=[ema]", "epochs=3"],
        *["train_metrics=running", "schedule=cosine"],
    ],
    "a step in two parts": ["dataset=iris", "architecture.hidden=[3]", "optimizer=newton", "epochs=3"],
}


def trained(words: list[str]) -> tuple[Tensor, list[list[Row]], list[str]]:
    stack = build([config(*words, "compile=false", f"seed={seed}") for seed in range(3)])
    rows = Rows(stack.runs)
    fit(stack, rows)
    return stack.theta, [[{**row, "seconds": 0.0} for row in own] for own in rows.rows], stack.remarks


@pytest.mark.parametrize("name", NETWORKS)
def test_a_training_is_the_same_to_the_bit(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    theta, rows, _ = trained(NETWORKS[name])
    made: list[Repeated] = []

    def graph_of(device: torch.device) -> Repeated:
        made.append(Repeated())
        return made[-1]

    monkeypatch.setattr(graphs, "graph_of", graph_of)
    theirs, their_rows, remarks = trained(NETWORKS[name])
    assert len(made) >= 2 and remarks == []  # steps and evaluations
    assert torch.equal(theta, theirs)
    assert rows == their_rows


def test_what_cannot_be_captured_is_run_without_and_the_log_says_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    words = ["dataset=iris", "architecture.hidden=[3]", "epochs=2", "compile=false"]
    theta, _, _ = trained(words)
    monkeypatch.setattr(graphs, "graph_of", lambda device: Refusing())
    nodes = [plain(config(*words, f"seed={seed}")) for seed in range(3)]
    stack, folders = build(nodes), [tmp_path / str(seed) for seed in range(3)]
    with Folders(nodes, folders, stack) as all_folders:
        all_folders.train(Rows(3))
    assert torch.equal(theta, stack.theta)
    told = (folders[1] / "dlrun.log").read_text()
    assert told.count("since operation not permitted when stream is capturing") == 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is here")
def test_a_cuda_graph_does_what_its_operations_do() -> None:
    x, memory = torch.arange(4.0, device="cuda"), torch.zeros(4, device="cuda")

    def program(x: Tensor) -> tuple[Tensor, ...]:
        memory.add_(x)
        return (memory * 2,)

    program(x)  # as `captured` wants it
    memory.zero_()
    call = captured(program, [x], refused=pytest.fail)
    assert [call(x)[0].tolist(), call(x + 1)[0].tolist()] == [[0, 2, 4, 6], [2, 6, 10, 14]]
    assert isinstance(graphs.graph_of(x.device), CudaGraph)
