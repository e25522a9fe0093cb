"""A run alone that goes through PyTorch's kernels for one network, against the same run as a row of a stack."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from conftest import Rows
from torch import Tensor, nn

from dlrun.matrix.noise import Noise
from dlrun.matrix.rows import over_rows, over_single_row
from dlrun.matrix.trace import Recording
from dlrun.training.stack import Stack
from dlrun.training.train import fit

CASES = {
    "convolutions": "dataset=digits architecture=cnn architecture.channels=[3] normalization=batch".split(),
    "dropout": "dataset=digits architecture=cnn architecture.channels=[3] regularizer=dropout".split(),
    "residual": "dataset=digits architecture=resnet architecture.depth=8 architecture.width=4".split(),
    "lstm": "dataset=sequences dataset.samples=64 dataset.length=9 architecture=lstm architecture.hidden=5".split(),
    "rows of images": "dataset=digits architecture=lstm architecture.rows=true architecture.hidden=[5,4]".split(),
}
TRAINING = ["batch_size=32", "steps=6", "eval_every=0.05", "optimizer=momentum", "lr=0.05", "compile=false"]


def trained(stack: Stack) -> list[dict[str, float]]:
    kept = Rows(stack.runs)
    fit(stack, kept)
    return [{**row, "seconds": 0.0} for row in kept.rows[0]]


@pytest.mark.parametrize("case", CASES)
def test_a_run_alone_is_the_row_of_a_stack(case: str, stack_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its noise, and to the rounding of single precision; it repeats itself to the last bit."""
    words = [*CASES[case], *TRAINING, "train_metrics=running"]
    alone = stack_of(*words)
    assert alone.over_networks(1) is over_single_row and alone.over_networks(2) is over_rows
    rows, theta = trained(alone), alone.theta.clone()
    again = stack_of(*words)
    assert trained(again) == rows and torch.equal(again.theta, theta)
    stack = stack_of(*words, rows=[[], ["seed=7"]])
    for row, wanted in zip(trained(stack), rows, strict=True):
        assert row == pytest.approx(wanted, rel=1e-4, abs=1e-5)
    torch.testing.assert_close(stack.theta[:1], theta, rtol=1e-3, atol=1e-5)


def test_an_lstm_alone_is_pytorchs_and_its_own_loop(stack_of: Any) -> None:
    stack = stack_of(*CASES["lstm"], "architecture.forget_bias=0.7")
    layer = next(module for module in stack.model.modules() if hasattr(module, "recurrent"))
    theirs = nn.LSTM(2, 5, batch_first=True)
    with torch.no_grad():
        theirs.weight_ih_l0.copy_(layer.input.weight)
        theirs.weight_hh_l0.copy_(layer.recurrent.weight)
        theirs.bias_ih_l0.copy_(layer.input.bias)
        theirs.bias_ih_l0[5:10] += 0.7
        theirs.bias_hh_l0.zero_()
    x = torch.randn(6, 9, 2, generator=torch.Generator().manual_seed(0))
    wanted = theirs(x)[0]
    torch.testing.assert_close(layer(x), wanted, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(over_single_row(layer)(x[None])[0], wanted, rtol=1e-5, atol=1e-6)


DRAWS: dict[str, Callable[[Tensor], Tensor]] = {
    "in place": lambda x: F.dropout(x + 1, 0.3, True),
    "uniform": torch.rand_like,
    "normal": lambda x: torch.randn(x.shape),
    "one number": lambda x: x + torch.rand_like(x.sum()),
}


@pytest.mark.parametrize("name", DRAWS)
def test_a_network_alone_draws_what_its_row_draws(name: str) -> None:
    x, found = torch.zeros(1, 6, 40), []
    for over in (over_rows, over_single_row):
        noise = Noise([2], (), 6, True, 0)
        recording = Recording(lambda x, over=over: (over(DRAWS[name])(x),), [x], noise=noise)
        at = [0]
        program = noise.before(recording.program(), lambda at=at: at[0])
        results = []
        for at[0] in (0, 1, 300):
            results.append(program(x)[0].clone())
        found.append(results)
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(found[0][0], found[0][1])


def test_what_one_dnn_would_write_beyond_its_memory_keeps_its_layout(stack_of: Any) -> None:
    """Shortcuts of a residual network with so few channels, which ended the process on a CPU without AVX-512."""
    words = ["dataset=digits", "architecture=resnet18", "batch_size=8", "steps=30", "eval_every=3", "plots=none"]
    narrow, wide = (stack_of(*words, f"architecture.width={width}") for width in (2, 8))
    assert narrow.over_networks(1).keywords == {"channels_last": False} and wide.over_networks(1) is over_single_row
    trained(narrow)
