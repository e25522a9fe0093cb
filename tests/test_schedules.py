"""Every schedule against torch.optim.lr_scheduler, closed forms and plain loops."""

from __future__ import annotations

import inspect
import math
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hydra.utils import get_class
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from dlrun.errors import ConfigError
from dlrun.schedules.lr_range import LRRange, suggestion
from dlrun.schedules.piecewise import Manual
from dlrun.schedules.schedule import Clock
from dlrun.schedules.warmup import momenta, rates, warmup_steps

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


@pytest.mark.parametrize("name", ["exponential", "natural_exponential", "inverse_time", "inverse_sqrt"])
def test_the_unit_of_time_is_an_epoch_unless_told_otherwise(name):
    schedule, _ = schedule_and_rows(name)
    assert type(schedule)().per == schedule.per == "epoch"


def test_natural_exponential():
    assert table("natural_exponential", k=0.3, per="step") == [close([0.1 * math.exp(-0.3 * t) for t in range(60)])]
    assert table("natural_exponential", k=0.3) == [close([0.1 * math.exp(-0.3 * t / 6) for t in range(60)])]
    (row,) = table("natural_exponential", k=0.3, per="step")
    assert row == close(torch_table(lambda o: lr_scheduler.ExponentialLR(o, math.exp(-0.3)))[0])


def test_inverse_time():
    assert table("inverse_time", k=0.5, per="step") == [close([0.1 / (1 + 0.5 * t) for t in range(60)])]
    (row,) = table("inverse_time", k=0.5)
    assert row == close(torch_table(lambda o: lr_scheduler.LambdaLR(o, lambda t: 1 / (1 + 0.5 * t / 6)))[0])
    assert row[12] == close(0.05)  # 1 / k = 2 epochs of 6 steps


def test_inverse_sqrt_after_a_warmup_is_the_transformers():
    (row,) = table("inverse_sqrt", k=1 / 8, per="step", warmup=8)
    transformer = [min(step**-0.5, step * 8**-1.5) for step in range(1, 61)]
    assert row == close([0.1 * 8**0.5 * rate for rate in transformer])
    assert table("inverse_sqrt", k=1.0) == [close([0.1 / math.sqrt(1 + t / 6) for t in range(60)])]


def test_multistep():
    (row,) = table("multistep", milestones=[7, 2], gamma=0.5)
    assert row == close(torch_table(lambda o: lr_scheduler.MultiStepLR(o, [2, 7], 0.5), every=CLOCK.per_epoch)[0])
    assert row == close([0.1] * 12 + [0.05] * 30 + [0.025] * 18)
    assert table("multistep", milestones=[0.5], gamma=0.5) == [close([0.1] * 3 + [0.05] * 57)]
    assert table("multistep", milestones=[]) == [close([0.1] * 60)]
    # a step that single precision cannot tell from the one before
    schedule, rows = schedule_and_rows("multistep", milestones=[2.0**24 + 1], gamma=0.5)
    late = torch.tensor([[2.0**24], [2.0**24 + 1]], dtype=torch.float64)
    assert schedule(late, Clock(2**25, 1), **named(schedule.__call__, rows)).tolist() == [[0.1], [0.05]]


def test_manual():
    assert table("manual", rates={0: 0.3, 4: 0.2}) == [close([0.3] * 24 + [0.2] * 36)]
    assert table("manual", rates={"7.5": 0.01, 2: 1}) == [close([0.1] * 12 + [1.0] * 33 + [0.01] * 15)]
    assert table("manual") == table("manual", rates={}) == [close([0.1] * 60)]
    assert table("manual", lr=[0.1, 0.2], rates={9: 0.3}) == [
        close([0.1] * 54 + [0.3] * 6),
        close([0.2] * 54 + [0.3] * 6),
    ]


@pytest.mark.parametrize(
    ("rates", "message"),
    [
        (0.1, r"schedule\.rates=0\.1: write a table of epochs and rates, such as \{0:0\.1,10:0\.01\}"),
        ([0.1, 0.01], r"schedule\.rates=\[0\.1, 0\.01\]: write a table"),
        ({"ten": 0.1}, r"schedule\.rates: ten is no epoch; write numbers >= 0"),
        ({-1: 0.1}, "-1 is no epoch"),
        ({True: 0.1}, "True is no epoch"),
        ({math.inf: 0.1}, "inf is no epoch"),
        ({0: 0.1, 10: 0}, "epoch 10 has the rate 0; write a number > 0"),
        ({10: None}, "epoch 10 has the rate None"),
        ({10: "fast"}, "epoch 10 has the rate fast"),
        ({10: math.nan}, "epoch 10 has the rate nan"),
    ],
)
def test_manual_refuses(rates, message):
    with pytest.raises(ConfigError, match=message):
        Manual(rates)


@pytest.mark.parametrize("min_factor", [0.0, 0.2])
def test_linear(min_factor):
    twin = torch_table(lambda o: lr_scheduler.LinearLR(o, 1, min_factor, total_iters=60))[0]
    assert table("linear", min_factor=min_factor) == [close(twin)]
    assert table("linear", min_factor=min_factor) == [
        close(row) for row in table("polynomial", power=1, min_factor=min_factor)
    ]


@pytest.mark.parametrize("power", [0.9, 2.0])
def test_polynomial(power):
    (row,) = table("polynomial", power=power)
    # torch's product of ratios gathers rounding errors
    assert row == pytest.approx(torch_table(lambda o: lr_scheduler.PolynomialLR(o, 60, power))[0], rel=1e-10)
    assert table("polynomial", power=power, min_factor=0.3)[0] == close([0.03 + 0.7 * rate for rate in row])


def test_the_range_test_smooths_and_ends_where_the_loss_explodes():
    steps, beta = 200, 1 - 1 / 6  # 3 % of the steps
    losses = torch.stack([torch.linspace(2, 1, steps), torch.ones(steps), torch.ones(steps)], 1).double()
    losses[150:, 1] = 30
    losses[100, 2] = torch.nan
    test = LRRange()
    state = test.init(3)
    explosion = torch.tensor([[4.0, 4.0, 4.0]]).double()
    parts = [test.watch(state, part, Clock(steps, 20), explosion=explosion) for part in losses.split(70)]
    smoothed, stops = (torch.cat(each) for each in zip(*parts, strict=True))
    for run in range(3):
        average, expected = 0.0, []
        for t, loss in enumerate(losses[:, run].tolist(), 1):
            average = beta * average + (1 - beta) * loss
            expected.append(average / (1 - beta**t))
        np.testing.assert_allclose(smoothed[:, run], expected, rtol=1e-9)
    assert not stops[:, 0].any()
    assert (
        150
        <= int(stops[:, 1].nonzero()[0])
        == int(np.argmax(smoothed[:, 1].numpy() > 4 * smoothed[:150, 1].min().item()))
    )
    assert int(stops[:, 2].nonzero()[0]) == 100
    below_zero = torch.linspace(-1, -2, 50).double()[:, None]  # as the likelihood of numbers close together
    assert not test.watch(test.init(1), below_zero, Clock(50, 20), explosion=explosion[:, :1])[1].any()
    assert test.watch(
        test.init(1), below_zero.where(torch.arange(50)[:, None] < 40, 30), Clock(50, 20), explosion=explosion[:, :1]
    )[1].any()


def test_the_range_test_suggests_where_the_loss_falls_fastest():
    lr = np.geomspace(1e-5, 1e3, 200)
    losses = 2 - 1 / (1 + (0.05 / lr) ** 2) + (lr / 10) ** 2  # a sigmoid in log lr with its middle at 0.05
    assert suggestion(lr, losses) == pytest.approx(0.05, rel=0.1)
    assert suggestion(lr, np.linspace(1, 2, 200)) is None and suggestion([1.0], [1.0]) is None
    assert suggestion(lr, [np.nan] * 200) is None and suggestion(lr, np.ones(200)) is None


def test_the_range_test_suggests_what_a_plain_loop_finds_before_the_lowest_loss():
    """Of all stretches of a tenth of the test that end no later than the lowest loss, the middle of the steepest."""
    random = np.random.default_rng(0)
    for n in (2, 3, 4, 19, 39, 40, 41, 60, 200):
        half, lr = max(1, n // 20), np.geomspace(1e-5, 1e3, n)
        for losses in random.normal(size=(40, n)):
            losses[random.integers(1, n) :] += random.choice([0, 9, math.nan])  # where it explodes, or is no number
            best, steepest = None, 0.0
            for middle in range(half, n - half):
                fall = losses[middle - half] - losses[middle + half]
                if middle + half <= np.nanargmin(losses) and fall > steepest:
                    best, steepest = lr[middle], fall
            assert suggestion(lr, losses) == best


def test_the_range_test_ends_above_the_lowest_by_explosion_and_not_at_it():
    """Of a test so short that nothing is smoothed; 4 times 2, and for a loss below 0 as far above it."""
    losses = torch.tensor([[2.0, -2.0], [8.0, 4.0], [8.001, 4.001]], dtype=torch.float64)
    test, clock, explosion = LRRange(), Clock(3, 3), torch.tensor([[4.0, 4.0]], dtype=torch.float64)
    smoothed, stops = test.watch(test.init(2), losses, clock, explosion=explosion)
    assert torch.equal(smoothed, losses) and stops.tolist() == [[False, False], [False, False], [True, True]]


def test_lr_range():
    (row,) = table("lr_range", min_factor=1e-3, max_factor=1e2)
    assert row == close([1e-4 * 1e5 ** (t / 59) for t in range(60)])
    assert (row[0], row[-1]) == (close(1e-4), close(10.0))
    assert table("lr_range", Clock(2, 1), min_factor=1e-3, max_factor=1e2) == [close([1e-4, 10.0])]
    assert table("lr_range", Clock(1, 1)) == [close([1e-5])]


@pytest.mark.parametrize(("period", "t_mult"), [(2, 1), (2, 2), (1, 3), (3, 1)])
@pytest.mark.parametrize("min_factor", [0.0, 0.2])
def test_cosine_restarts(period, t_mult, min_factor):
    changes = {"period": period, "t_mult": t_mult, "min_factor": min_factor}
    long = Clock(total=600, per_epoch=2)  # a logarithm is an integer at each restart, and rounds to less at 3^5
    (row,) = table("cosine_restarts", long, **changes)
    twin = torch_table(
        lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, period * 2, t_mult, 0.1 * min_factor), steps=600
    )[0]
    assert row == pytest.approx(twin, rel=1e-9, abs=1e-12)
    assert row.count(0.1) == twin.count(0.1) >= 3


def test_cosine_restarts_with_fractions_of_epochs():
    (row,) = table("cosine_restarts", period=0.5, t_mult=1.5)
    starts, length = [0.0], 3.0  # by hand, in steps
    while starts[-1] + length < 60:
        starts.append(starts[-1] + length)
        length *= 1.5
    for t, rate in enumerate(row):
        i = max(i for i, start in enumerate(starts) if start <= t)
        assert rate == close(0.05 * (1 + math.cos(math.pi * (t - starts[i]) / (3 * 1.5**i))))


def test_cosine_restarts_at_the_very_step_however_a_logarithm_rounds():
    """At the i-th restart, (q^i - 1) / (q - 1) periods, the rate is lr; before it, it is all but min_factor lr."""
    for q in range(2, 12):
        restarts = torch.tensor([[(q**i - 1) // (q - 1)] for i in range(1, 15)], dtype=torch.float64)
        schedule, rows = schedule_and_rows("cosine_restarts", period=1, t_mult=q, min_factor=0.2)
        for t, factor in ((restarts, 1), (restarts.nextafter(torch.zeros(())), 0.2)):
            found = schedule(t, Clock(1, 1), **named(schedule.__call__, rows))
            assert found[:, 0].tolist() == close([0.1 * factor] * len(t))


CYCLIC = {"half_cycle": 1.5, "min_factor": 0.2, "max_momentum": 0.9, "min_momentum": 0.7}


def test_cyclic():
    def twin(optimizer):
        momentum = {"base_momentum": 0.7, "max_momentum": 0.9}
        return lr_scheduler.CyclicLR(optimizer, 0.02, 0.1, step_size_up=9, mode="triangular", **momentum)

    lrs, expected_momenta = torch_table(twin)
    assert table("cyclic", **CYCLIC) == [pytest.approx(lrs, rel=1e-12)]
    assert table("cyclic", kind=momenta, **CYCLIC) == [pytest.approx(expected_momenta, rel=1e-12)]
    assert (min(lrs), max(lrs)) == (close(0.02), close(0.1))


def test_cyclic_of_one_momentum_keeps_it():
    (row,) = table("cyclic", kind=momenta, max_momentum=0.9, min_momentum=0.9)
    assert row == close([0.9] * 60)


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


CYCLE_MOMENTUM = ["cyclic", "one_cycle"]


@pytest.mark.parametrize("name", [name for name in NAMES if name not in CYCLE_MOMENTUM])
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


@pytest.mark.parametrize("patience", [0, 1, 2])
def test_plateau_of_losses_that_begin_without_a_number(patience):
    losses = [math.nan, math.inf, math.nan, 1.0, 1.0, 1.0, 1.0]
    (row,) = after_each_loss([losses], factor=0.5, patience=patience, threshold=0.01)
    assert row == after_each_loss_in_torch(losses, factor=0.5, patience=patience, threshold=0.01)
    assert row[patience] == 0.05


def test_plateau_of_a_loss_of_zero():
    # what is below 0 is better, however little, and 0 itself is not
    assert after_each_loss([[0.0, -1e-6, -2e-6], [0.0, 0.0, 0.0]], lr=[0.1, 0.1], patience=0, threshold=0.01) == [
        [0.1, 0.1, 0.1],
        [0.1, 0.05, 0.025],
    ]


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
    "cosine_restarts": {"period": [2, 3], "t_mult": [1, 2], "min_factor": [0.0, 0.3]},
    "cyclic": {"half_cycle": [1, 2.5], "min_factor": [0.0, 0.3], "max_momentum": [0.9, 0.95]},
    "inverse_sqrt": {"k": [0.1, 2.0]},
    "inverse_time": {"k": [0.1, 2.0]},
    "linear": {"min_factor": [0.0, 0.3]},
    "lr_range": {"min_factor": [1e-4, 0.1], "max_factor": [1.0, 1e3]},
    "manual": {},
    "multistep": {"gamma": [0.1, 0.5]},
    "natural_exponential": {"k": [0.1, 2.0]},
    "one_cycle": {"warm_fraction": [0.1, 0.5], "start_divisor": [10, 3], "max_momentum": [0.9, 0.95]},
    "plateau": {},
    "polynomial": {"power": [0.5, 2.0], "min_factor": [0.0, 0.3]},
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("warmup", [0, 13])
def test_two_rows_are_two_schedules(name, warmup):
    rows = {"lr": [0.1, 0.02], **TWO_ROWS[name]}
    one, other = ({key: value[i] for key, value in rows.items()} for i in range(2))
    for kind in (rates, momenta) if name in CYCLE_MOMENTUM else (rates,):
        expected = table(name, warmup=warmup, kind=kind, **one) + table(name, warmup=warmup, kind=kind, **other)
        for row, alone in zip(table(name, warmup=warmup, kind=kind, **rows), expected, strict=True):
            assert row == close(alone)


BY_EPOCHS = ["manual", "multistep", "step"]  # their times are epochs of the training


def risen(rates, warmup):
    """The rates of a training whose first steps rise to them."""
    return [rate * min(1, (t + 1) / warmup) for t, rate in enumerate(rates)]


@pytest.mark.parametrize("name", [name for name in NAMES if name not in BY_EPOCHS])
def test_warmup_rises_to_where_the_schedule_starts_with_the_steps_that_are_left(name):
    (row,) = table(name, warmup=8)
    (rest,) = table(name, Clock(total=53, per_epoch=6))  # the warmup's last step is the schedule's first
    assert row == close(risen([rest[0]] * 7 + rest, 8))


def test_warmup_does_not_shift_epochs_that_were_typed():
    (row,) = table("multistep", milestones=[1, 3], gamma=0.5, warmup=9)
    assert row == close(
        [0.1 * t / 9 for t in range(1, 7)] + [0.05 * t / 9 for t in range(7, 10)] + [0.05] * 9 + [0.025] * 42
    )
    (row,) = table("step", every=2, gamma=0.5, warmup=9)
    assert row == close(risen([0.1 * 0.5 ** (t // 12) for t in range(60)], 9))
    (row,) = table("manual", rates={0: 0.3, 5: 0.1}, warmup=9)  # it rises to the table's rate, whatever lr is
    assert row == close([0.3 * t / 9 for t in range(1, 10)] + [0.3] * 21 + [0.1] * 30)


@pytest.mark.parametrize("name", NAMES)
def test_a_warmup_of_one_step_is_none(name):
    assert table(name, warmup=1) == table(name)


def test_warmup_is_linear_lr_then_cosine_of_torch():
    def twin(optimizer):
        rise = lr_scheduler.LinearLR(optimizer, start_factor=1 / 8, total_iters=7)
        return lr_scheduler.SequentialLR(optimizer, [rise, lr_scheduler.CosineAnnealingLR(optimizer, 53)], [7])

    assert table("cosine", warmup=8) == [close(torch_table(twin)[0])]


def test_momentum_waits_for_the_warmup():
    (row,) = table("one_cycle", warmup=8, kind=momenta)
    assert row[:8] == close([0.95] * 8)
    assert [row[7:]] == table("one_cycle", Clock(total=53, per_epoch=6), kind=momenta)


@pytest.mark.parametrize("name", NAMES)
def test_a_training_of_warmup_alone(name):
    ((last,),) = table(name, Clock(total=1, per_epoch=6))
    (row,) = table(name, Clock(total=6, per_epoch=6), warmup=6)
    assert row == close([last * (t + 1) / 6 for t in range(6)])


#: by the words of conf/: the first rate, the last one, and where it arrives one step later, over lr
ENDS = [
    ("cosine", {"min_factor": 0.2}, 1, None, 0.2),
    ("linear", {"min_factor": 0.2}, 1, None, 0.2),
    ("polynomial", {"min_factor": 0.2}, 1, None, 0.2),
    ("cosine_restarts", {"period": 10, "min_factor": 0.2}, 1, None, 1),  # at a restart
    ("cyclic", {"half_cycle": 5, "min_factor": 0.2}, 0.2, None, 0.2),
    ("one_cycle", {"start_divisor": 25, "end_divisor": 1000}, 1 / 25, 1 / 1000, None),
    ("lr_range", {"min_factor": 1e-3, "max_factor": 100}, 1e-3, 100, None),
    ("exponential", {"gamma": 0.9}, 1, None, 0.9**10),
    ("natural_exponential", {"k": 0.1}, 1, None, math.exp(-1)),
    ("inverse_time", {"k": 0.1}, 1, None, 0.5),  # halved after 1/k epochs
    ("inverse_sqrt", {"k": 0.3}, 1, None, 0.5),  # halved after 3/k
    ("step", {"every": 10, "gamma": 0.3}, 1, 1, 0.3),
    ("multistep", {"milestones": [10], "gamma": 0.3}, 1, 1, 0.3),
    ("manual", {"rates": {0: 0.3, 10: 0.02}}, 3, 3, 0.2),
    ("constant", {}, 1, 1, 1),
    ("plateau", {}, 1, 1, 1),
]


@pytest.mark.parametrize(("name", "changes", "first", "last", "beyond"), ENDS)
def test_a_schedule_begins_and_ends_where_its_yaml_says(name, changes, first, last, beyond):
    schedule, rows = schedule_and_rows(name, **changes)
    rows |= schedule.init(1)
    t = torch.tensor([[0.0], [CLOCK.total - 1], [CLOCK.total]], dtype=torch.float64)
    found = (schedule(t, CLOCK, **named(schedule.__call__, rows)) / 0.1)[:, 0].tolist()
    for got, said in zip(found, (first, last, beyond), strict=True):
        assert said is None or got == close(said)
    if name == "cosine_restarts":  # where it was about to arrive
        near, *_ = schedule(t[2:] - 1e-6, CLOCK, **named(schedule.__call__, rows)).flatten().tolist()
        assert near == pytest.approx(0.02, abs=1e-9)


def test_every_schedules_ends_are_looked_at():
    assert {name for name, *_ in ENDS} == set(NAMES)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "lr_range"])
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


LAID_OUT = ["cosine", "linear", "lr_range", "one_cycle", "polynomial"]  # over the training; then at their last rate
LONG = Clock(total=500, per_epoch=5)
ROBBINS_MONRO = [
    ("constant", {}, (True, False)),
    ("step", {}, (False, True)),
    ("step", {"gamma": 1.0}, (True, False)),
    ("multistep", {}, (True, False)),
    ("manual", {"rates": {3: 0.01, 50: 1e-5}}, (True, False)),
    ("exponential", {}, (False, True)),
    ("exponential", {"gamma": 1.0}, (True, False)),
    ("natural_exponential", {}, (False, True)),
    ("natural_exponential", {"k": 0.0}, (True, False)),
    ("inverse_time", {}, (True, True)),
    ("inverse_time", {"per": "step", "k": 0.1}, (True, True)),
    ("inverse_time", {"k": 0.0}, (True, False)),
    ("inverse_sqrt", {}, (True, False)),
    ("linear", {}, (False, True)),
    ("linear", {"min_factor": 0.1}, (True, False)),
    ("polynomial", {}, (False, True)),
    ("polynomial", {"min_factor": 0.1}, (True, False)),
    ("cosine", {}, (False, True)),
    ("cosine", {"min_factor": 0.1}, (True, False)),
    ("cosine_restarts", {}, (True, False)),
    ("cosine_restarts", {"t_mult": 2}, (True, False)),
    ("cyclic", {}, (True, False)),
    ("one_cycle", {}, (True, False)),
    ("lr_range", {}, (True, False)),
    ("plateau", {}, (False, True)),
    ("plateau", {"min_factor": 0.1}, (True, False)),
]


def test_every_schedule_says_whether_it_meets_robbins_and_monro():
    assert {name for name, *_ in ROBBINS_MONRO} == set(NAMES)


def rates_for_ever(name, steps=2**17, **changes):
    if name == "plateau":  # an evaluation per step, none of which improves
        return torch.tensor(after_each_loss([[1.0] * 2**9], **changes)[0])
    schedule, rows = schedule_and_rows(name, **changes)
    t = torch.arange(steps, dtype=torch.float64)[:, None]
    t = t.clamp(max=LONG.total) if name in LAID_OUT else t
    return rates(schedule, t, LONG, 0, **named(schedule.__call__, rows))[:, 0]


def grows_for_ever(terms):
    """Whether a sum over twice as many terms gains as much as it did when it was 32 times shorter."""
    n = len(terms)
    return bool(terms[n // 2 :].sum() >= 0.9 * terms[n // 64 : n // 32].sum() > 0)


@pytest.mark.parametrize(("name", "changes", "expected"), ROBBINS_MONRO)
def test_robbins_monro(name, changes, expected):
    schedule, rows = schedule_and_rows(name, **changes)
    numbers = {key: row.item() for key, row in named(schedule.robbins_monro, rows).items()}
    assert schedule.robbins_monro(**numbers) == expected
    lrs = rates_for_ever(name, **changes)
    assert (grows_for_ever(lrs), not grows_for_ever(lrs**2)) == expected
