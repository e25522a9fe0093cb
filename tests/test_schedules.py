"""Every schedule against torch.optim.lr_scheduler, closed forms and plain loops."""

from __future__ import annotations

import inspect
import math
import warnings
from pathlib import Path

import pytest
import torch
import yaml
from hydra.utils import get_class
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from dlrun.errors import ConfigError
from dlrun.schedules import Clock, momenta, rates, warmup_steps

CONF = Path(__file__).parent.parent / "conf" / "schedule"
CLOCK = Clock(total=60, per_epoch=6)
NAMES = sorted(path.stem for path in CONF.glob("*.yaml"))


def schedule_and_rows(name, **changes):
    """The schedule of a YAML and its numbers per row, some changed; a list gives one number to each row."""
    values = {**yaml.safe_load((CONF / f"{name}.yaml").read_text()), "lr": 0.1, **changes}
    schedule_class = get_class(values.pop("_target_"))
    flags = [key for key in values if key in inspect.signature(schedule_class).parameters]
    schedule = schedule_class(**{key: values.pop(key) for key in flags})
    rows = {key: torch.tensor(value, dtype=torch.float64).reshape(1, -1) for key, value in values.items()}
    return schedule, {key: row.expand(1, rows["lr"].shape[1]) for key, row in rows.items()}


def named(method, rows):
    """What a method names as keyword-only arguments, as the trainer passes it."""
    parameters = inspect.signature(method).parameters.values()
    return {p.name: rows[p.name] for p in parameters if p.kind is p.KEYWORD_ONLY}


def table(name, clock=CLOCK, warmup=0, kind=rates, **changes):
    """All rates (or momenta) of a training, as one list per row."""
    schedule, rows = schedule_and_rows(name, **changes)
    rows |= schedule.init(rows["lr"].shape[1])  # state entries and rows reach a method by the same rule
    t = torch.arange(clock.total, dtype=torch.float64)[:, None]
    method = schedule.__call__ if kind is rates else schedule.momentum
    values = kind(schedule, t, clock, warmup, **named(method, rows))
    assert values.shape == (clock.total, rows["lr"].shape[1])
    return values.T.tolist()


def torch_table(make, lr=0.1, steps=CLOCK.total, every=1):
    """The rates and the momenta that a scheduler of torch gives, stepped after every so many steps."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=lr, momentum=0.5)
    lrs, momenta = [], []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no optimizer.step() here; SequentialLR's own use of a deprecated argument
        scheduler = make(optimizer)
        for step in range(steps):
            lrs.append(optimizer.param_groups[0]["lr"])
            momenta.append(optimizer.param_groups[0]["momentum"])
            if (step + 1) % every == 0 and step + 1 < steps:
                scheduler.step()
    return lrs, momenta


def close(expected):
    return pytest.approx(expected, rel=1e-12, abs=1e-15)


def test_constant():
    assert table("constant") == [[0.1] * 60]


def test_step():
    (row,) = table("step", every=3, gamma=0.5)
    assert row == close([0.1] * 18 + [0.05] * 18 + [0.025] * 18 + [0.0125] * 6)
    assert row == close(torch_table(lambda o: lr_scheduler.StepLR(o, 3, 0.5), every=CLOCK.per_epoch)[0])


def test_exponential():
    (row,) = table("exponential", gamma=0.9, per="step")
    assert row == close([0.1 * 0.9**t for t in range(60)])
    assert row == close(torch_table(lambda o: lr_scheduler.ExponentialLR(o, 0.9))[0])
    (row,) = table("exponential", gamma=0.9)
    by_epoch = torch_table(lambda o: lr_scheduler.ExponentialLR(o, 0.9), every=CLOCK.per_epoch)[0]
    assert row[:: CLOCK.per_epoch] == close(by_epoch[:: CLOCK.per_epoch])
    assert row[9] == close(0.1 * 0.9**1.5)
    (row,) = table("exponential", gamma=math.exp(-0.3), per="step")
    assert row == close([0.1 * math.exp(-0.3 * t) for t in range(60)])


@pytest.mark.parametrize("min_factor", [0.0, 0.2])
def test_cosine(min_factor):
    (row,) = table("cosine", min_factor=min_factor)
    assert row == close(torch_table(lambda o: lr_scheduler.CosineAnnealingLR(o, 60, 0.1 * min_factor))[0])
    assert row[30] == close(0.1 * (1 + min_factor) / 2)


ONE_CYCLE = {"start_divisor": 10, "end_divisor": 50, "max_momentum": 0.9, "min_momentum": 0.8}


@pytest.mark.parametrize(("total", "warm"), [(60, 0.3), (61, 0.25), (7, 0.4), (3, 0.3)])
def test_one_cycle(total, warm):
    def twin(optimizer):
        momentum = {"base_momentum": 0.8, "max_momentum": 0.9}
        return lr_scheduler.OneCycleLR(
            optimizer, 0.1, total, pct_start=warm, div_factor=10, final_div_factor=5, **momentum
        )

    lrs, expected_momenta = torch_table(twin, steps=total)
    changes = {**ONE_CYCLE, "warm_fraction": warm}
    assert table("one_cycle", Clock(total, 1), **changes) == [close(lrs)]
    assert table("one_cycle", Clock(total, 1), kind=momenta, **changes) == [close(expected_momenta)]


def test_one_cycle_that_starts_at_its_peak():
    # torch divides by zero here: the first phase begins and ends at step 0
    expected = [0.002 + 0.098 * (1 + math.cos(math.pi * t / 9)) / 2 for t in range(10)]
    assert table("one_cycle", Clock(10, 1), **ONE_CYCLE, warm_fraction=0.1) == [close(expected)]


def test_one_cycle_by_default_is_torch_by_default():
    lrs, expected_momenta = torch_table(lambda o: lr_scheduler.OneCycleLR(o, 0.1, 60))
    assert table("one_cycle") == [close(lrs)]
    assert table("one_cycle", kind=momenta) == [close(expected_momenta)]
    assert max(lrs) == close(0.1)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "one_cycle"])
def test_others_leave_momentum_alone(name):
    schedule, _ = schedule_and_rows(name)
    assert momenta(schedule, torch.zeros(1, 1), CLOCK, 0) is None


LOSSES = [3.0, 2.0, 2.0, 1.99999, 2.5, 1.5, 1.6, 1.6, 1.6, 1.6, 1.6, 1.6, 1.7, math.nan, 1.8, 0.5, 0.4, 0.6, 0.6, 0.6]


def after_each_loss(losses, **changes):
    """The rates after each evaluation; losses holds one list per row."""
    schedule, rows = schedule_and_rows("plateau", **changes)
    state = schedule.init(len(losses))
    lrs = []
    for val_loss in zip(*losses, strict=True):
        schedule.observe(state, torch.tensor([val_loss]), **named(schedule.observe, rows))
        lrs.append(rates(schedule, torch.zeros(1, 1), CLOCK, 0, **named(schedule.__call__, rows | state))[0].tolist())
    return [list(row) for row in zip(*lrs, strict=True)]


def after_each_loss_in_torch(losses, lr=0.1, min_factor=0.0, **changes):
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=lr)
    scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, eps=0, min_lr=min_factor * lr, **changes)
    lrs = []
    for val_loss in losses:
        scheduler.step(val_loss)
        lrs.append(optimizer.param_groups[0]["lr"])
    return lrs


@pytest.mark.parametrize("factor", [0.1, 0.5])
@pytest.mark.parametrize("patience", [0, 1, 3])
@pytest.mark.parametrize("threshold", [0.0, 1e-4, 0.1])
def test_plateau(factor, patience, threshold):
    changes = {"factor": factor, "patience": patience, "threshold": threshold, "min_factor": 0.02}
    expected = after_each_loss_in_torch(LOSSES, **changes)
    assert after_each_loss([LOSSES], **changes) == [close(expected)]
    assert expected[-1] < 0.1


def test_plateau_by_hand():
    (row,) = after_each_loss([LOSSES[:10]], factor=0.5, patience=2, threshold=1e-4)
    # the fifth loss is the third in a row that is no better than 2 (1.99999 is not, by the threshold)
    assert row == [0.1, 0.1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.05, 0.025, 0.025]


def test_plateau_of_a_negative_loss():
    # 1 % above -1 is no improvement, and 1 % below it is
    assert after_each_loss([[-1.0, -1.0], [-1.0, -1.02]], lr=[0.1, 0.1], patience=0, threshold=0.01) == [
        [0.1, 0.05],
        [0.1, 0.1],
    ]


def test_plateau_rows_are_their_own():
    rows = {"lr": [0.1, 0.3], "factor": [0.5, 0.1], "patience": [0, 2], "threshold": [0.1, 0.0], "min_factor": [0.1, 0]}
    together = after_each_loss([LOSSES, LOSSES[::-1]], **rows)
    for i, losses in enumerate([LOSSES, LOSSES[::-1]]):
        assert [together[i]] == after_each_loss([losses], **{key: value[i] for key, value in rows.items()})


TWO_ROWS = {
    "constant": {},
    "step": {"every": [1, 4], "gamma": [0.5, 0.1]},
    "exponential": {"gamma": [0.9, 0.5]},
    "cosine": {"min_factor": [0.0, 0.3]},
    "one_cycle": {"warm_fraction": [0.1, 0.5], "start_divisor": [10, 3], "max_momentum": [0.9, 0.95]},
    "plateau": {},
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("warmup", [0, 13])
def test_two_rows_are_two_schedules(name, warmup):
    rows = {"lr": [0.1, 0.02], **TWO_ROWS[name]}
    one, other = ({key: value[i] for key, value in rows.items()} for i in range(2))
    for kind in (rates, momenta) if name == "one_cycle" else (rates,):
        expected = table(name, warmup=warmup, kind=kind, **one) + table(name, warmup=warmup, kind=kind, **other)
        for row, alone in zip(table(name, warmup=warmup, kind=kind, **rows), expected, strict=True):
            assert row == close(alone)


@pytest.mark.parametrize("name", NAMES)
def test_warmup_rises_then_the_schedule_starts_with_what_remains(name):
    (row,) = table(name, warmup=8)
    assert row[:8] == close([0.1 * (t + 1) / 8 for t in range(8)])
    assert [row[8:]] == table(name, Clock(total=52, per_epoch=6))


def test_warmup_is_linear_lr_then_cosine_of_torch():
    def twin(optimizer):
        rise = lr_scheduler.LinearLR(optimizer, start_factor=1 / 8, total_iters=7)
        return lr_scheduler.SequentialLR(optimizer, [rise, lr_scheduler.CosineAnnealingLR(optimizer, 52)], [8])

    assert table("cosine", warmup=8) == [close(torch_table(twin)[0])]


def test_momentum_waits_for_the_warmup():
    (row,) = table("one_cycle", warmup=8, kind=momenta)
    assert row[:8] == close([0.95] * 8)
    assert [row[8:]] == table("one_cycle", Clock(total=52, per_epoch=6), kind=momenta)


@pytest.mark.parametrize("name", NAMES)
def test_a_training_of_warmup_alone(name):
    assert table(name, Clock(total=6, per_epoch=6), warmup=6) == [close([0.1 * (t + 1) / 6 for t in range(6)])]


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=25)
@given(total=st.integers(1, 200), share=st.floats(0, 1), per_epoch=st.integers(1, 50))
def test_rates_stay_between_zero_and_lr(name, total, share, per_epoch):
    (row,) = table(name, Clock(total, per_epoch), warmup=int(share * total))
    assert all(0 <= rate <= 0.1 * (1 + 1e-12) for rate in row)


@pytest.mark.parametrize(
    ("warmup", "steps"),
    [
        (0, 0),
        (0.0, 0),
        (0.1, 6),
        (0.025, 2),
        (1e-05, 0),
        (0.99, 59),
        (1, 6),
        (1.5, 9),
        (10, 60),
        ("20steps", 20),
        ("20 steps", 20),
        ("1step", 1),
        ("0.5epochs", 3),
        (".5epochs", 3),
        ("1 epoch", 6),
    ],
)
def test_warmup_steps(warmup, steps):
    assert warmup_steps(warmup, CLOCK) == steps


@pytest.mark.parametrize("warmup", [-1, -0.1, math.nan, math.inf, True, None, "", "steps", "1.5steps", "10%", "5 eras"])
def test_warmup_steps_refuses(warmup):
    with pytest.raises(ConfigError, match=rf"schedule\.warmup={warmup}: write a number below 1"):
        warmup_steps(warmup, CLOCK)


@pytest.mark.parametrize("warmup", [11, "61steps", "10.5epochs"])
def test_warmup_steps_refuses_more_than_the_training(warmup):
    with pytest.raises(ConfigError, match="the training has 60"):
        warmup_steps(warmup, CLOCK)
