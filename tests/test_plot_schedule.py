"""`dlrun plot schedule=NAME`: the rates that a training takes, without one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import config
from fakes import NEEDS
from test_cli import Ended, dlrun  # noqa: F401

from dlrun.config.catalogue import choices
from dlrun.job.schedule import rates
from dlrun.plots.page import png
from dlrun.plots.schedule import figure
from dlrun.training.build import build
from dlrun.training.evaluation import Row
from dlrun.training.stack import Stack
from dlrun.training.watching import Outcome

Train = Callable[[Stack], tuple[Outcome, list[list[Row]]]]
SMALL = ["dataset=iris", "architecture.hidden=[4]", "batch_size=16", "epochs=6", "eval_every=0.2", "compile=false"]


@pytest.mark.parametrize("name", choices("schedule"))
def test_the_rates_are_those_that_a_training_takes(name: str, train: Train) -> None:
    own = [word for word in NEEDS.get(f"schedule={name}", []) if word.startswith("schedule.")]
    words = [*SMALL, f"schedule={name}", *own, "schedule.warmup=3steps", "optimizer=momentum", "lr=0.01"]
    if name == "plateau":
        words += ["schedule.patience=1000"]  # no feedback
    stack = build([config(*words)])
    frame = rates(stack)
    _, [rows] = train(stack)
    taken = {int(row["step"]): row["lr"] for row in rows}
    assert frame["step"].tolist() == list(range(stack.steps))
    assert len(taken) > 20 or name == "lr_range"
    for step, lr in taken.items():  # metrics.csv has the rate of the last step that was taken
        if step:
            assert frame["lr"][step - 1] == pytest.approx(lr, rel=1e-6)
    assert list(frame.columns[3:]) == (["momentum"] if name in ("cyclic", "one_cycle") else [])


def test_the_picture_holds_torchs_one_cycle() -> None:
    words = ["schedule=one_cycle", "lr=0.2", "steps=11", "optimizer=adam"]
    frame = rates(build([config(*SMALL, *words, "schedule.warm_fraction=0.4", "schedule.end_divisor=100")]))
    optimizer = torch.optim.Adam([torch.zeros(1, requires_grad=True)])
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=0.2, total_steps=11, pct_start=0.4, div_factor=25, final_div_factor=4
    )
    for lr, beta1 in frame[["lr", "beta1"]].to_numpy():
        [group] = optimizer.param_groups
        assert (lr, beta1) == pytest.approx((group["lr"], group["betas"][0]), rel=1e-6)
        optimizer.step()
        if cycle.last_epoch < 10:
            cycle.step()
    page = figure(frame, "one_cycle: 11 steps", "a note")
    above, below = page.axes
    for axes, column in ((above, "lr"), (below, "beta1")):
        np.testing.assert_array_equal(axes.lines[0].get_xdata(), frame["step"])
        np.testing.assert_array_equal(axes.lines[0].get_ydata(), frame[column])
        assert axes.get_ylabel() == column
    assert page.get_suptitle() == "one_cycle: 11 steps\na note" and below.get_xlabel() == "step"
    assert png(page)


def test_of_many_steps_some_are_drawn() -> None:
    frame = rates(build([config(*SMALL, "schedule=linear", "steps=250000", "lr=0.5", "optimizer=sgd")]))
    assert len(frame) == 10_000 and frame["step"].iloc[-1] == 249_999
    np.testing.assert_allclose(frame["lr"], 0.5 * (1 - frame["step"] / 250_000), rtol=1e-5, atol=1e-9)


def test_a_rate_over_many_decades_has_a_logarithmic_axis() -> None:
    for name, scale in (("lr_range", "log"), ("one_cycle", "linear"), ("constant", "linear")):
        page = figure(rates(build([config(*SMALL, f"schedule={name}")])), name)
        assert page.axes[0].get_yscale() == scale


def test_pictures_are_written_here_or_there_and_none_is_overwritten(
    dlrun: Callable[..., Ended],  # noqa: F811
    tmp_path: Path,
) -> None:
    for name in ("schedule.png", "schedule_2.png", "schedule_3.png"):
        ended = dlrun("plot", "schedule=cosine", "epochs=3", "dataset=iris")
        assert ended == Ended(0, f"{name}\n", "")
    first = (tmp_path / "schedule.png").read_bytes()
    assert dlrun("plot", "schedule=plateau", "dataset=iris", "some/where").out.splitlines() == [
        "schedule=plateau lowers the rate by the losses of a training; here it is drawn as it is without them",
        "some/where/schedule.png",
    ]
    assert dlrun("plot", "schedule=cosine", "dataset=iris", "plot.format=svg").out == "schedule.svg\n"
    assert (tmp_path / "schedule.png").read_bytes() == first
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "schedule.png", "schedule.svg", "schedule_2.png", "schedule_3.png", "some",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "words, told",
    [
        (["schedule=cosin"], "did you mean cosine?"),
        (["lr=0.1"], "plot lr=0.1: there is no such folder; schedule=NAME"),
        (["schedule=cosine", "a", "b"], "name one folder at most"),
        (["schedule=cosine", "lr=-1"], "lr=-1: must be null or > 0"),
        (["schedule=step", "schedule.evry=3"], "did you mean schedule.every=3"),
        (["schedule=cosine", "schedule.warmup=9steps", "steps=3"], "schedule.warmup=9steps: that is 9 steps"),
        ([], "name the folders of one or more runs or sweeps, or schedule=NAME"),
    ],
)
def test_nonsense_is_refused(dlrun: Callable[..., Ended], tmp_path: Path, words: list[str], told: str) -> None:  # noqa: F811
    ended = dlrun("plot", *words)
    assert ended.code == 2 and told in ended.err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_whose_name_has_an_equals_sign_is_still_a_folder(dlrun: Callable[..., Ended], tmp_path: Path) -> None:  # noqa: F811
    (tmp_path / "lr=0.1").mkdir()
    ended = dlrun("plot", "lr=0.1")
    assert ended.code == 2 and "holds no run" in ended.err
