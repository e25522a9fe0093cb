"""Averages and ensembles against plain loops over the trained parameters, and what is measured of them."""

from __future__ import annotations

from math import nan

import pytest
import torch
import torch.nn.functional as F
from conftest import Rows
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim.swa_utils import update_bn

from dlrun.errors import ConfigError
from dlrun.job.folders import members_of
from dlrun.regularizers.averaging import SWA, SnapshotEnsemble
from dlrun.schedules.schedule import Clock
from dlrun.training.stack import Stack
from dlrun.training.train import fit
from dlrun.training.watching import Outcome

SMALL = [
    "dataset=iris",
    "architecture.hidden=[8]",
    "batch_size=16",
    "precision=float64",
    "optimizer=momentum",
    "lr=0.1",
]
EVERY_STEP = f"eval_every={1 / 7}"  # 106 training samples are 7 batches


class Trajectory(Rows):
    """Keeps the network as it is at every evaluation."""

    def __init__(self, stack: Stack) -> None:
        super().__init__(stack.runs)
        self.stack = stack
        self.networks: list[dict[str, Tensor]] = []

    def row(self, run: int, row: dict[str, float]) -> None:
        super().row(run, row)
        if run == 0:
            self.networks.append({name: tensor.clone() for name, tensor in self.stack.network.items()})


def trained(stack: Stack) -> tuple[Outcome, Trajectory]:
    watch = Trajectory(stack)
    return fit(stack, watch), watch


def logits(stack: Stack, network: dict[str, Tensor], part: str, run: int = 0) -> Tensor:
    tensors = {name: view[run] for name, view in stack.layout.views(network["theta"]).items()}
    tensors |= {name: tensor[run] for name, tensor in network.items() if name != "theta"}
    stack.model.eval()
    return functional_call(stack.model, tensors, (stack.dataset.part(part)[0],))


def test_ema_of_parameters_and_running_averages(stack_of) -> None:
    stack = stack_of(
        *SMALL, EVERY_STEP, "epochs=2", "normalization=batch", "regularizer=ema", "regularizer.ema.decay=0.4"
    )
    outcome, watch = trained(stack)
    average = {name: tensor.clone() for name, tensor in watch.networks[0].items()}
    for t, (network, row) in enumerate(zip(watch.networks, watch.rows[0], strict=True)):
        beta = min(0.4, (1 + t) / (10 + t))
        for name, tensor in network.items() if t else ():
            average[name] = beta * average[name] + (1 - beta) * tensor
        y = stack.dataset.part("val")[1]
        assert row["val_ema_loss"] == pytest.approx(F.cross_entropy(logits(stack, average, "val"), y).item(), rel=1e-9)
    assert len(watch.networks) == 15
    ema = outcome.measured[1]
    for name, tensor in average.items():
        torch.testing.assert_close(ema.last.kept[name][:, 0], tensor, rtol=1e-9, atol=1e-12)
    best = min(watch.rows[0], key=lambda row: row["val_ema_loss"])
    assert ema.best.rows[0] == best
    [(_, saved)] = members_of(stack, ema.last)
    assert saved.keys() == stack.model.state_dict().keys()
    x, y = stack.dataset.part("test")
    loss = F.cross_entropy(functional_call(stack.model.eval(), saved, (x,)), y)
    assert ema.last_test["loss"].item() == pytest.approx(loss.item(), rel=1e-9)


def test_swa_is_the_mean_at_the_ends_of_late_epochs_with_statistics_of_its_own(stack_of) -> None:
    stack = stack_of(
        *SMALL,
        "epochs=8",
        "normalization=batch",
        "regularizer=swa",
        "regularizer.swa.start=0.5",
        "regularizer.swa.every=2",
    )
    outcome, watch = trained(stack)
    mean = torch.stack([watch.networks[i]["theta"][0] for i in (4, 6, 8)]).mean(0)
    swa = outcome.measured[1].last
    torch.testing.assert_close(swa.kept["theta"][0, 0], mean)
    model = stack.model
    model.load_state_dict({name: view[0] for name, view in stack.layout.views(mean[None]).items()}, strict=False)
    x, _ = stack.dataset.part("train")
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.num_batches_tracked = torch.tensor(0)
    update_bn(x[:96].split(16), model)  # the last, smaller batch counts as much as the others
    expected = {name: buffer.clone() for name, buffer in model.named_buffers()}
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.momentum = 1.0
    model(x[96:])
    for name, buffer in model.named_buffers():
        if "running" in name:
            torch.testing.assert_close(swa.kept[name][0, 0], (6 * expected[name] + buffer) / 7)
    rows = watch.rows[0]
    assert all(row["val_swa_loss"] == row["val_loss"] for row in rows[:4])  # the network itself, until it begins
    assert rows[5]["val_swa_loss"] == rows[4]["val_swa_loss"] != rows[5]["val_loss"]


def test_swa_is_due_from_its_start_on_and_at_most_at_every_step() -> None:
    rows = {"start": torch.tensor([[0.5], [0.25]]), "every": torch.tensor([[0.01], [0.75]])}  # epochs of four steps
    due = SWA().moments(torch.arange(12.0)[:, None], torch.ones(14, 2), Clock(12, 4), **rows)
    assert [row.nonzero()[:, 0].tolist() for row in due.T] == [[5, 6, 7, 8, 9, 10, 11], [2, 5, 8, 11]]


def test_snapshots_at_the_lows_of_the_rate_predict_together(stack_of) -> None:
    schedule = ["schedule=cosine_restarts", "schedule.period=2", "schedule.t_mult=1"]
    stack = stack_of(
        *SMALL, *schedule, EVERY_STEP, "epochs=8", "regularizer=snapshot_ensemble",
        "regularizer.snapshot_ensemble.snapshots=3",
    )  # fmt: skip
    outcome, watch = trained(stack)
    y = stack.dataset.part("val")[1]
    for step, row in enumerate(watch.rows[0]):
        taken = [at for at in (14, 28, 42, 56) if at <= step][-3:] or [step]
        p = torch.stack([logits(stack, watch.networks[at], "val").softmax(1) for at in taken]).mean(0)
        assert row["val_snapshot_ensemble_loss"] == pytest.approx(F.nll_loss(p.log(), y).item(), rel=1e-9)
        accuracy = (p.argmax(1) == y).double().mean().item()
        assert row["val_snapshot_ensemble_accuracy"] == pytest.approx(accuracy)
    saved = list(members_of(stack, outcome.measured[1].last))
    first = {cycle: tensors["1.weight"][0, 0].item() for cycle, tensors in saved}
    views = [stack.layout.views(watch.networks[at]["theta"])["1.weight"][0, 0, 0].item() for at in (28, 42, 56)]
    assert first == dict(zip((2, 3, 4), views, strict=True))  # the numbers of the cycles, of which the first is gone


def test_a_low_is_where_the_rate_has_fallen_and_rises_again() -> None:
    """And the last step: of a cycle, of a rate that only rises, and of one that falls in steps."""
    rates = torch.tensor([[nan, 3, 2, 1, 2, 1, nan], [nan, 1, 1, 2, 2, 3, nan], [nan, 3, 3, 2, 2, 1, nan]]).T
    due = SnapshotEnsemble(3).moments(torch.arange(5.0)[:, None], rates, Clock(5, 5))
    assert due.T.tolist() == [[False, False, True, False, True], *[[False] * 4 + [True]] * 2]


def test_an_ensemble_is_empty_at_first_whatever_the_parameters() -> None:
    memory = SnapshotEnsemble(3).init({"theta": torch.full((2, 4), 5.0)})
    assert memory["theta"].shape == (2, 3, 4) and not memory["cycle"].any() and not memory["weight"].any()


def test_rows_of_a_stack_average_as_runs_alone(stack_of) -> None:
    common = [
        *SMALL, "epochs=6", "normalization=batch", "regularizer=[ema,swa,snapshot_ensemble]",
        "schedule=cosine_restarts", "schedule.t_mult=1", "regularizer.snapshot_ensemble.snapshots=2",
    ]  # fmt: skip
    rows = [
        ["seed=0", "schedule.period=1", "regularizer.ema.decay=0.9", "regularizer.swa.start=0.5"],
        ["seed=1", "schedule.period=3", "regularizer.ema.decay=0.5", "regularizer.swa.every=2"],
    ]
    _, together = trained(stack_of(*common, rows=rows))
    for i, row in enumerate(rows):
        _, alone = trained(stack_of(*common, *row))
        for got, wanted in zip(together.rows[i], alone.rows[0], strict=True):
            values = {key: value for key, value in wanted.items() if key != "seconds"}
            assert {key: got[key] for key in values} == pytest.approx(values, rel=1e-8, abs=1e-8)


def test_an_ensemble_of_one_is_refused(stack_of) -> None:
    message = "regularizer=snapshot_ensemble takes the network's parameters 1 times .* schedule=cosine_restarts"
    with pytest.raises(ConfigError, match=message):
        stack_of(*SMALL, "regularizer=snapshot_ensemble")
