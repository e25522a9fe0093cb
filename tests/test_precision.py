"""Precisions of 16 bits: near float32, with float32 parameters, and a scale of the loss where their range is small."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Rows, config
from fakes import EVERY, composed, files, typed  # noqa: F401
from test_contract import trained

from dlrun.errors import ConfigError
from dlrun.job.folders import Folders
from dlrun.training.batches import plan
from dlrun.training.build import build, plain
from dlrun.training.state import SCALE, State
from dlrun.training.step import GROWTH, gradient, prepare
from dlrun.training.train import fit

STEP = {"bf16": 2**-8, "fp16": 2**-11}  #: half the distance of numbers near 1, relative to them
MLP = ["dataset=digits", "architecture.hidden=[32,32]", "batch_size=64", "compile=false"]


def first_gradient(*words: str) -> torch.Tensor:
    stack = build([config(*words)])
    with torch.no_grad():
        state = State(stack)
        if state.scaling:  # small enough for every network here
            state.scaling["scale"].fill_(256)
        batch, *moving = next(plan(stack, state.schedule, 0, 1))
        return gradient(stack, state, batch, *moving)[0]


@pytest.mark.parametrize("half", STEP)
@pytest.mark.parametrize("words", [MLP, ["dataset=digits", "architecture=cnn", "normalization=batch", "batch_size=64"]])
def test_a_gradient_is_float32s_but_for_the_rounding_of_its_products(half: str, words: list[str]) -> None:
    exact, near = (first_gradient(*words, f"precision={name}") for name in ("float64", half))
    assert near.dtype == torch.float32
    error = torch.linalg.vector_norm(near - exact) / torch.linalg.vector_norm(exact)
    assert STEP[half] / 8 < error < 64 * STEP[half]  # it computes in them, and layers add up, batch norm's most


def test_a_network_learns_as_well(stack_of: Any) -> None:
    found = {}
    for name in ("float32", *STEP):
        stack, rows = stack_of(*MLP, f"precision={name}", "epochs=8"), Rows(1)
        outcome = fit(stack, rows)
        assert outcome.status == ["finished"] and stack.theta.dtype == torch.float32
        found[name] = rows.rows[0][-1]
    for half in STEP:
        assert found[half]["val_loss"] == pytest.approx(found["float32"]["val_loss"], rel=0.1)
        assert found[half]["val_loss"] != found["float32"]["val_loss"]


def test_steps_that_16_bits_cannot_hold_are_left_out_and_the_scale_is_gradscalers() -> None:
    """Row 0 overflows at the first step, row 1 never; torch.amp.GradScaler, fed with the same, has the same scales."""
    words = ["dataset=iris", "architecture.hidden=[4]", "batch_size=full", "optimizer=adam", "precision=fp16"]
    stack = build([config(*words, f"seed={seed}") for seed in range(2)])
    with torch.no_grad():
        state = State(stack)
        batch, *moving = next(plan(stack, state.schedule, 0, 1))
        step, _, _ = prepare(stack, state, batch, moving, compiling=False)
        scale, before = state.scaling["scale"], stack.theta.clone()
        memory = {name: tensor.clone() for name, tensor in state.memory.items()}
        scale.copy_(torch.tensor([2.0**24, SCALE / 64]))
        _, norm = step(batch, *moving)[:2]
        assert norm[0].isnan() and norm[1].isfinite()
        assert torch.equal(stack.theta[0], before[0]) and not torch.equal(stack.theta[1], before[1])
        for name, tensor in state.memory.items():
            assert torch.equal(tensor[0], memory[name][0]) and not torch.equal(tensor[1], memory[name][1])
        state.scaling["steps"][1] = GROWTH - 2
        ours = [scale.tolist()]
        for _ in range(2):
            step(batch, *moving)
            ours.append(scale.tolist())
        assert [row[0] for row in ours] == [2.0**23, 2.0**22, 2.0**21]
        assert [row[1] for row in ours] == [SCALE / 64, SCALE / 64, SCALE / 32]
        assert state.scaling["left_out"].tolist() == [3, 0]
    theirs = torch.amp.GradScaler("cpu")
    assert (theirs.get_growth_factor(), theirs.get_backoff_factor()) == (2, 0.5)
    assert (theirs.get_growth_interval(), theirs._init_scale) == (GROWTH, SCALE)


def test_what_was_left_out_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dlrun.training.state.SCALE", 2.0**60)  # too much for every one of the three steps
    nodes = [
        plain(config("dataset=iris", "architecture.hidden=[4]", "precision=fp16", "steps=3", "dataset.scale=none"))
    ]
    stack = build(nodes)
    with Folders(nodes, [tmp_path / "run"], stack) as folders:
        [summary] = folders.train(Rows(1))
    assert summary["status"] == "finished" and summary["steps_left_out"] == 3
    assert "3 of 3 steps were left out, since precision=fp16" in (tmp_path / "run" / "dlrun.log").read_text()


@pytest.mark.parametrize("half", STEP)
@pytest.mark.parametrize("words", [["optimizer=adam", "normalization=batch"], ["regularizer=[dropout,ema]"]])
def test_it_repeats_itself_and_resumes(
    half: str, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dlrun.training.state.SCALE", 2.0**8)  # so that no step is left out, and every row has a norm
    keys = ["dataset=iris", "architecture.hidden=[6]", "batch_size=64", "steps=6", "eval_every=0.01", "clip_norm=1"]
    trained([config(*keys, *words, f"precision={half}", f"seed={seed}") for seed in range(2)], tmp_path)


@pytest.mark.parametrize(
    "words, told",
    [
        (["optimizer=newton", "precision=bf16"], "too coarse"),
        (["optimizer=lbfgs", "precision=bf16", "batch_size=full"], "too coarse"),
        (["optimizer=torch", "optimizer.name=SGD", "precision=fp16"], "leaves out"),
        (["precision=tf32", "device=cpu"], "device=cpu has no such numbers; it takes float32, float64, bf16 or fp16"),
    ],
)
def test_refused(words: list[str], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        build([config("dataset=iris", "architecture.hidden=[4]", *words)])


CHOICES = [each for each in EVERY if not each.startswith(("dataset=", "diagnostics=", "schedule="))]


@pytest.mark.slow
@pytest.mark.parametrize("choice, half", list(zip(CHOICES, cycle(STEP), strict=False)))
def test_every_choice_trains_in_it_or_is_refused(choice: str, half: str, files: Path) -> None:  # noqa: F811
    runs = [composed([*typed(choice), f"precision={half}", f"seed={seed}"], files) for seed in range(3)]
    try:
        stack = build(runs[:1], initialize=False)
    except ConfigError as refused:
        assert f"precision={half}" in str(refused)
        return
    stack = build(runs if stack.rule.stackable else runs[:1])
    rows = Rows(stack.runs)
    outcome = fit(stack, rows)
    assert outcome.status == ["finished"] * stack.runs
    assert stack.theta.isfinite().all()
