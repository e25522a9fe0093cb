"""The trainer against plain loops, and a stack's rows against the same runs alone."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from conftest import Rows
from torch import Tensor, nn

from dlrun.matrix.seeds import ORDER, generator
from dlrun.training import train as trainer
from dlrun.training.stack import Stack

SMALL = ["architecture.hidden=[16,16]", "dataset=iris", "batch_size=16", "precision=float64"]


def order(seed: int, epoch: int, size: int) -> Tensor:
    return torch.randperm(size, generator=generator(seed, ORDER, epoch))


def plain_loop(
    stack: Stack, make: Callable[[list[Tensor]], torch.optim.Optimizer], steps: int, **options: float
) -> Tensor:
    """What one would write by hand: modules, torch.optim, batches in the order of the run's seed."""
    model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3)).double()
    torch.nn.utils.vector_to_parameters(stack.theta[0].clone(), model.parameters())
    optimizer = make(list(model.parameters()))
    x, y = stack.dataset.part("train")
    done = 0
    while done < steps:
        for rows in order(stack.seeds[0], done // stack.steps_per_epoch, len(x)).split(stack.batch_size):
            optimizer.zero_grad()
            smoothing = options.get("label_smoothing", 0.0)
            F.cross_entropy(model(x[rows]), y[rows], label_smoothing=smoothing).backward()
            if "clip" in options:
                norm = torch.cat([p.grad.flatten() for p in model.parameters()]).norm()
                for p in model.parameters():
                    p.grad *= min(1, options["clip"] / norm)
            if "clip_value" in options:
                nn.utils.clip_grad_value_(model.parameters(), options["clip_value"])
            optimizer.step()
            done += 1
            if done == steps:
                break
    return torch.nn.utils.parameters_to_vector(model.parameters()).detach()


WEIGHTS_ONLY = [0, 2, 4]  # of weight, bias, weight, bias, ...
LOOPS: dict[str, tuple[list[str], Callable[..., torch.optim.Optimizer], dict[str, float]]] = {
    "adam": (["optimizer=adam", "lr=0.01"], lambda p: torch.optim.Adam(p, lr=0.01), {}),
    "sgd": (["optimizer=sgd", "lr=0.1"], lambda p: torch.optim.SGD(p, lr=0.1), {}),
    "torch": (
        ["optimizer=torch", "optimizer.name=NAdam", "optimizer.args={weight_decay: 0.1}", "lr=0.01"],
        lambda p: torch.optim.NAdam(p, lr=0.01, weight_decay=0.1),
        {},
    ),
    "l2 spares biases": (
        ["optimizer=sgd", "lr=0.1", "regularizer=l2", "regularizer.l2.alpha=0.3"],
        lambda p: torch.optim.SGD([{"params": p[::2], "weight_decay": 0.3}, {"params": p[1::2]}], lr=0.1),
        {},
    ),
    "decoupled decay": (
        ["optimizer=adam", "lr=0.01", "regularizer=weight_decay", "regularizer.weight_decay.alpha=0.3"],
        lambda p: torch.optim.AdamW(
            [{"params": p[::2], "weight_decay": 0.3}, {"params": p[1::2], "weight_decay": 0}], lr=0.01
        ),
        {},
    ),
    "adamw": (["optimizer=adamw", "lr=0.01"], lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.01), {}),
    "label smoothing": (
        ["optimizer=sgd", "lr=0.1", "regularizer=label_smoothing", "regularizer.label_smoothing.alpha=0.2"],
        lambda p: torch.optim.SGD(p, lr=0.1),
        {"label_smoothing": 0.2},
    ),
    "clip norm": (["optimizer=sgd", "lr=0.1", "clip_norm=0.3"], lambda p: torch.optim.SGD(p, lr=0.1), {"clip": 0.3}),
    "clip value": (
        ["optimizer=sgd", "lr=0.1", "clip_value=0.02"],
        lambda p: torch.optim.SGD(p, lr=0.1),
        {"clip_value": 0.02},
    ),
}


@pytest.mark.parametrize("case", LOOPS)
def test_a_run_is_the_loop_one_would_write_by_hand(case: str, stack_of, train) -> None:
    overrides, make, options = LOOPS[case]
    stack = stack_of(*SMALL, "steps=20", *overrides)
    expected = plain_loop(stack, make, 20, **options)
    train(stack)
    torch.testing.assert_close(stack.theta[0], expected, rtol=0, atol=1e-9)


def test_every_step_uses_its_own_rate(stack_of, train) -> None:
    stack = stack_of(*SMALL, "steps=20", "optimizer=sgd", "lr=0.2", "schedule=cosine", "schedule.warmup=4steps")
    make = lambda p: torch.optim.SGD(p, lr=0.2)  # noqa: E731
    model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3)).double()
    torch.nn.utils.vector_to_parameters(stack.theta[0].clone(), model.parameters())
    optimizer = make(model.parameters())
    warm = torch.optim.lr_scheduler.LinearLR(optimizer, 1 / 4, 1, 3)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 17)
    schedule = torch.optim.lr_scheduler.SequentialLR(optimizer, [warm, cosine], [3])
    x, y = stack.dataset.part("train")
    batches = [b for e in range(4) for b in order(0, e, len(x)).split(16)][:20]
    for rows in batches:
        optimizer.zero_grad()
        F.cross_entropy(model(x[rows]), y[rows]).backward()
        optimizer.step()
        schedule.step()
    train(stack)
    expected = torch.nn.utils.parameters_to_vector(model.parameters()).detach()
    torch.testing.assert_close(stack.theta[0], expected, rtol=0, atol=1e-9)


ROWS = [[f"seed={i // 2}", f"lr={0.02 * (i + 1)}"] for i in range(8)]
STACKS = {
    "adam": ["optimizer=adam"],
    "nesterov": ["optimizer=nesterov", "schedule=one_cycle"],
    "batch norm": ["optimizer=momentum", "normalization=batch"],
    "penalties": ["optimizer=rmsprop", "regularizer=[l1,l2,weight_decay,label_smoothing]", "clip_norm=0.5"],
    "layer norm, residual": ["optimizer=adagrad", "normalization=layer", "architecture.skip=true", "schedule=cosine"],
    "convolution": [
        "dataset=digits",
        "optimizer=momentum",
        "architecture=cnn",
        "architecture.channels=[3]",
        "normalization=batch",
    ],
    "running means": ["train_metrics=running", "schedule=plateau", "regularizer=early_stopping"],
}


@pytest.mark.parametrize("case", STACKS)
def test_a_row_of_a_stack_is_the_run_alone(case: str, stack_of, train) -> None:
    overrides = [*SMALL, "steps=20", *STACKS[case]]
    if case == "convolution":
        overrides.remove("architecture.hidden=[16,16]")
        overrides.append("architecture.hidden=[8]")
    together = stack_of(*overrides, rows=ROWS)
    start = together.theta.clone()
    _, rows = train(together)
    for i, row in enumerate(ROWS):
        alone = stack_of(*overrides, *row)
        assert torch.equal(alone.theta[0], start[i])
        _, [alone_rows] = train(alone)
        torch.testing.assert_close(together.theta[i], alone.theta[0], rtol=0, atol=1e-9)
        for name, buffer in alone.buffers.items():
            torch.testing.assert_close(together.buffers[name][i], buffer[0], rtol=0, atol=1e-9)
        assert len(rows[i]) == len(alone_rows)
        for got, wanted in zip(rows[i], alone_rows, strict=True):
            values = {key: value for key, value in wanted.items() if key != "seconds"}
            assert {key: got[key] for key in values} == pytest.approx(values, rel=1e-9, abs=1e-9)


def test_rows_may_differ_in_every_number_of_a_technique(stack_of, train) -> None:
    rows = [
        ["optimizer.beta1=0.5", "regularizer.l2.alpha=0", "regularizer.early_stopping.patience=1"],
        ["optimizer.beta1=0.9", "regularizer.l2.alpha=0.1", "regularizer.early_stopping.patience=100"],
    ]
    overrides = [*SMALL, "steps=20", "regularizer=[l2,early_stopping]", "schedule=step", "schedule.every=1"]
    together = stack_of(*overrides, rows=rows)
    train(together)
    for i, row in enumerate(rows):
        alone = stack_of(*overrides, *row)
        train(alone)
        torch.testing.assert_close(together.theta[i], alone.theta[0], rtol=0, atol=1e-9)


STOPPING = "regularizer.early_stopping.min_delta=10"  # nothing is that much better: a run stops when patience ends
PATIENCE = ("regularizer.early_stopping.patience", [2, 1, 100, 3, 1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "own"),
    [
        (["regularizer=[ema,early_stopping]", STOPPING, "normalization=batch", "optimizer=momentum"], PATIENCE),
        (["regularizer=[swa,l2,early_stopping]", STOPPING, "train_metrics=running", "schedule=plateau"], PATIENCE),
        (["schedule=lr_range", "optimizer=sgd", "clip_norm=1"], ("dataset.split_seed", [0, 1, 0, 1, 0])),
    ],
)
def test_when_half_of_the_runs_have_ended_the_others_go_on_alone(
    overrides: list[str], own: tuple[str, list[int]], stack_of, train, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = [3e-3, 10, 3e-2, 1e-2, 1]
    rows = [[f"seed={i}", f"lr={rates[i]}", f"{own[0]}={own[1][i]}"] for i in range(5)]
    overrides = [*SMALL, "epochs=12", *overrides]
    widths: list[int] = []
    prepare = trainer.prepare

    def spy(*args: Any, **options: Any) -> Any:
        widths.append(args[0].runs)
        return prepare(*args, **options)

    monkeypatch.setattr(trainer, "prepare", spy)
    together = stack_of(*overrides, rows=rows)
    outcome, tables = train(together)
    assert widths[0] == 5 and widths[-1] < 3 and widths == sorted(widths, reverse=True)
    for i, row in enumerate(rows):
        alone = stack_of(*overrides, *row)
        solo, [table] = train(alone)
        assert solo.status == [outcome.status[i]]
        torch.testing.assert_close(together.theta[i], alone.theta[0], rtol=1e-9, atol=1e-9, equal_nan=True)
        for mine, whole in zip(solo.measured, outcome.measured, strict=True):
            for snapshot, part in ((mine.best, whole.best), (mine.last, whole.last)):
                assert snapshot.rows[0]["step"] == part.rows[i]["step"]
                for name, kept in snapshot.kept.items():
                    torch.testing.assert_close(part.kept[name][i], kept[0], rtol=1e-9, atol=1e-9, equal_nan=True)
            for name, value in mine.best_test.items():
                torch.testing.assert_close(whole.best_test[name][i], value[0], rtol=1e-9, atol=1e-9, equal_nan=True)
        assert len(tables[i]) == len(table)
        for got, wanted in zip(tables[i], table, strict=True):
            values = {key: value for key, value in wanted.items() if key != "seconds"}
            assert {k: got[k] for k in values} == pytest.approx(values, rel=1e-9, abs=1e-9, nan_ok=True)


@pytest.mark.slow
def test_compiled_the_numbers_agree_and_are_the_same_once_the_library_is_there(
    stack_of, train, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr("dlrun.matrix.libraries.cache_folder", lambda: tmp_path / "steps")
    built, loaded = (stack_of(*SMALL, "steps=20", "normalization=batch", "compile=true") for _ in range(2))
    _, [rows] = train(built)
    [library] = (tmp_path / "steps").iterdir()
    before = library.stat().st_ino
    train(loaded)
    assert [path.stat().st_ino for path in (tmp_path / "steps").iterdir()] == [before]
    assert torch.equal(built.theta, loaded.theta)
    reference = stack_of(*SMALL, "steps=20", "normalization=batch", "compile=false")
    _, [expected] = train(reference)
    torch.testing.assert_close(built.theta, reference.theta, rtol=0, atol=1e-9)
    for name, buffer in built.buffers.items():
        torch.testing.assert_close(buffer, reference.buffers[name], rtol=0, atol=1e-9)
    assert rows[-1]["val_loss"] == pytest.approx(expected[-1]["val_loss"], rel=1e-9)


def test_same_config_same_bits(stack_of, train) -> None:
    overrides = ["epochs=2", "architecture.hidden=[16]", "regularizer=dropout"]
    (_, [first]), (_, [second]) = (train(stack_of(*overrides)) for _ in range(2))
    assert [{**row, "seconds": 0} for row in first] == [{**row, "seconds": 0} for row in second]


def test_the_seed_fixes_weights_and_batches_whatever_the_optimizer(stack_of, train) -> None:
    runs = [train(stack_of(*SMALL, "steps=1", f"optimizer={name}")) for name in ("sgd", "adam", "torch")]
    first_rows = [rows[0][0] for _, rows in runs]
    for row in first_rows[1:]:
        for key in ("train_loss", "val_loss", "grad_norm"):  # the norm is the first batch's
            assert row[key] == first_rows[0][key]
    _, [[other, *_]] = train(stack_of(*SMALL, "steps=1", "seed=1"))
    assert other["train_loss"] != first_rows[0]["train_loss"]


def test_row_zero_is_the_untrained_network_and_the_rows_are_where_they_should_be(stack_of, train) -> None:
    stack = stack_of(*SMALL, "epochs=3", "eval_every=0.5")
    x, y = stack.dataset.part("train")
    parameters = {name: view[0] for name, view in stack.layout.views(stack.theta.clone()).items()}
    logits = torch.func.functional_call(stack.model, parameters, (x,))
    first_batch = order(0, 0, len(x))[:16]
    leaves = {name: view.clone().requires_grad_() for name, view in parameters.items()}
    loss = F.cross_entropy(torch.func.functional_call(stack.model, leaves, (x[first_batch],)), y[first_batch])
    norm = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(leaves.values()))]).norm()
    _, [rows] = train(stack)
    assert stack.steps_per_epoch == 7 and stack.eval_every == 4  # 106 samples in 7 batches; half an epoch, rounded
    assert [row["step"] for row in rows] == [0, 4, 8, 12, 16, 20, 21]
    assert rows[0]["train_loss"] == pytest.approx(F.cross_entropy(logits, y).item(), rel=1e-12)
    assert rows[0]["train_accuracy"] == (logits.argmax(1) == y).double().mean().item()
    assert rows[0]["grad_norm"] == pytest.approx(norm.item(), rel=1e-12)
    assert rows[-1]["epoch"] == 3


def test_running_training_columns_are_means_over_the_epochs_batches(stack_of, train) -> None:
    stack = stack_of(*SMALL, "epochs=1", "train_metrics=running", "optimizer=sgd", "lr=0.1")
    model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3)).double()
    torch.nn.utils.vector_to_parameters(stack.theta[0].clone(), model.parameters())
    x, y = stack.dataset.part("train")
    total = correct = 0.0
    for rows in order(0, 0, len(x)).split(16):
        model.zero_grad()
        logits = model(x[rows])
        loss = F.cross_entropy(logits, y[rows])
        loss.backward()
        total += loss.item() * len(rows)
        correct += (logits.argmax(1) == y[rows]).sum().item()
        with torch.no_grad():
            for p in model.parameters():
                p -= 0.1 * p.grad
    _, [rows] = train(stack)
    assert rows[-1]["train_loss"] == pytest.approx(total / len(x), rel=1e-12)
    assert rows[-1]["train_accuracy"] == pytest.approx(correct / len(x), rel=1e-12)


def test_early_stopping_stops_and_the_best_parameters_are_kept(stack_of, train) -> None:
    stack = stack_of(
        *SMALL, "epochs=200", "lr=0.05", "regularizer=early_stopping", "regularizer.early_stopping.patience=5"
    )
    outcome, [rows] = train(stack)
    losses = [row["val_loss"] for row in rows]
    best = min(range(len(losses)), key=losses.__getitem__)
    assert outcome.status == ["stopped_early"]
    assert len(rows) == best + 6 and len(rows) < 201
    assert outcome.best.rows[0] == rows[best] and outcome.last.rows[0] == rows[-1]
    x, y = stack.dataset.part("val")
    parameters = {name: view[0] for name, view in stack.layout.views(outcome.best.kept["theta"]).items()}
    assert F.cross_entropy(torch.func.functional_call(stack.model, parameters, (x,)), y).item() == pytest.approx(
        losses[best], rel=1e-12
    )


def test_a_row_that_diverges_harms_nobody(stack_of, train) -> None:
    rows = [["lr=0.05"], ["lr=1e30"], ["lr=0.05", "seed=1"]]
    common = [*SMALL, "steps=20", "eval_every=0.25", "optimizer=sgd", "dataset=diabetes"]
    together = stack_of(*common, rows=rows)
    outcome, recorded = train(together)
    assert outcome.status == ["finished", "diverged", "finished"]
    assert len(recorded[1]) < len(recorded[0])
    for i in (0, 2):
        alone = stack_of(*common, *rows[i])
        train(alone)
        torch.testing.assert_close(together.theta[i], alone.theta[0], rtol=0, atol=1e-9)


def test_dropout_differs_between_rows_and_follows_each_rows_rate(stack_of, train) -> None:
    rows = [["regularizer.dropout.p_hidden=0"], ["regularizer.dropout.p_hidden=0.9"]]
    common = [*SMALL, "epochs=3", "regularizer=dropout", "regularizer.dropout.p_input=0", "optimizer=sgd"]
    together = stack_of(*common, rows=rows)
    train(together)
    without = stack_of(*[o for o in common if "regularizer" not in o])
    train(without)
    torch.testing.assert_close(together.theta[0], without.theta[0], rtol=0, atol=1e-9)
    assert (together.theta[1] - without.theta[0]).abs().max() > 1e-3


def test_ctrl_c_waits_for_the_step_and_ends_the_run_in_order(stack_of) -> None:
    from conftest import Rows

    from dlrun.training.train import fit

    class Impatient(Rows):
        def row(self, run: int, row: dict[str, float]) -> None:
            super().row(run, row)
            if row["step"] == 14:
                os.kill(os.getpid(), signal.SIGINT)

    watch = Impatient(1)
    outcome = fit(stack_of(*SMALL, "epochs=100"), watch)
    assert outcome.status == ["interrupted"]
    assert outcome.last.rows[0] == watch.rows[0][-1]
    assert 14 <= watch.rows[0][-1]["step"] <= 15
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_full_batch_is_gradient_descent(stack_of, train) -> None:
    stack = stack_of(*SMALL, "steps=5", "batch_size=full", "optimizer=sgd", "lr=0.1")
    x, y = stack.dataset.part("train")
    theta = {name: view[0].clone() for name, view in stack.layout.views(stack.theta).items()}
    for _ in range(5):
        gradients = torch.func.grad(lambda p: F.cross_entropy(torch.func.functional_call(stack.model, p, (x,)), y))(
            theta
        )
        theta = {name: value - 0.1 * gradients[name] for name, value in theta.items()}
    train(stack)
    for name, view in stack.layout.views(stack.theta).items():
        torch.testing.assert_close(view[0], theta[name], rtol=0, atol=1e-12)


def test_rows_with_samples_of_their_own_are_the_runs_alone(stack_of, train) -> None:
    rows = [
        ["dataset.split_seed=1"],
        ["dataset.split_seed=2", "dataset.label_noise=0.3"],
        ["dataset.split_seed=2", "dataset.label_noise=0.3", "seed=1"],
        ["seed=1"],
    ]
    kept = ["regularizer=[ema,swa,snapshot_ensemble]", "schedule=cosine_restarts", "schedule.period=1"]
    overrides = [*SMALL, "epochs=4", "normalization=batch", "schedule.t_mult=1", *kept]
    together = stack_of(*overrides, rows=rows)
    assert len(together.variants) == 3 and together.variant == [0, 1, 1, 2]
    outcome, recorded = train(together)
    for i, row in enumerate(rows):
        alone = stack_of(*overrides, *row)
        ended, [expected] = train(alone)
        torch.testing.assert_close(together.theta[i], alone.theta[0], rtol=0, atol=1e-9)
        for got, wanted in zip(recorded[i], expected, strict=True):
            values = {key: value for key, value in wanted.items() if key != "seconds"}
            assert {key: got[key] for key in values} == pytest.approx(values, rel=1e-8, abs=1e-8)
        for one, other in zip(outcome.measured, ended.measured, strict=True):
            for name, value in other.best_test.items():
                assert one.best_test[name][i].item() == pytest.approx(value.item(), rel=1e-8, abs=1e-8)


@pytest.mark.parametrize("together", [1, 40, 10**6])
def test_running_columns_are_the_same_however_many_steps_are_measured_at_a_time(
    together: int, stack_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a smaller last batch, and groups that do not fill up."""
    words = ["dataset=iris", "architecture.hidden=[4]", "batch_size=16", "epochs=2", "train_metrics=running"]
    found = []
    for size in (together, 2**14):
        monkeypatch.setattr("dlrun.training.evaluation.TOGETHER", size)
        kept = Rows(2)
        trainer.fit(stack_of(*words, rows=[[], ["seed=1"]]), kept)
        found.append([{**row, "seconds": 0.0} for rows in kept.rows for row in rows])
    for row, wanted in zip(*found, strict=True):
        assert row == pytest.approx(wanted, rel=1e-14)
