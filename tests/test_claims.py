"""The judging of claims, on numbers that are made up; and that every claim can be judged at all."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite, log
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlrun.claims.claim import Claim, load, names
from dlrun.claims.criteria import Criterion
from dlrun.claims.measures import Measure
from dlrun.report.judging import Region

CLAIMS = names()
STATISTICAL = [
    pytest.param(name, number, id=f"{name}-{number}")
    for name in CLAIMS
    for number, criterion in enumerate(load(name).criteria)
    if not criterion.judge.startswith("every")
]
Numbers = dict[str, dict[int, float]]


def made_up(criterion: Criterion, truth: Any, n: int, random: np.random.Generator) -> Numbers:
    """Numbers of n seeds of which the estimate is right on average: effect and deviation, or shares."""
    seeds, found = range(n), dict[str, np.ndarray]()
    if criterion.judge in ("share", "rates"):
        shares = np.atleast_1d(truth)
        found = {
            name: (random.random(n) < share).astype(float)
            for name, share in zip(criterion.settings, shares, strict=True)
        }
    else:
        effect, deviation = truth["effect"], truth["deviation"]
        if criterion.judge == "mean":
            found = {criterion.settings[0]: random.normal(effect, deviation, n)}
        elif criterion.judge == "difference":
            base = random.normal(0, deviation, n)
            found = dict(zip(criterion.settings, (base + random.normal(effect, deviation, n), base), strict=True))
        elif criterion.judge == "ratio":
            base = random.normal(0, deviation, n)
            over = np.exp(base + random.normal(log(effect), deviation, n))
            found = dict(zip(criterion.settings, (over, np.exp(base)), strict=True))
        elif criterion.judge == "slope":
            slopes = random.normal(effect, deviation, n)
            found = {name: np.exp(slopes * log(x)) for name, x in criterion.against.items()}
        else:  # order
            steps = [random.normal(effect, deviation, n) for _ in criterion.settings[1:]]
            found = dict(zip(criterion.settings, np.cumsum([np.zeros(n), *steps], axis=0), strict=True))
    return {name: dict(zip(seeds, values.tolist(), strict=True)) for name, values in found.items()}


def reproduced(claim: Claim, criterion: Criterion, truth: Any, trials: int) -> float:
    """How often the criterion holds at any of the looks, of which a later one has the numbers of those before."""
    random, found = np.random.default_rng(0), 0
    for _ in range(trials):
        numbers = made_up(criterion, truth, claim.looks[-1], random)
        for n, level in zip(claim.looks, claim.level, strict=True):
            seen = {name: {seed: x for seed, x in values.items() if seed < n} for name, values in numbers.items()}
            holds = criterion.answer(seen, level).holds
            if holds is not None:
                found += holds
                break
    return found / trials


def at_margin(criterion: Criterion) -> Any:
    """The truth at the end of the region that lies nearest to what is expected."""
    region, expects = criterion.region, criterion.expects
    if criterion.judge == "share":
        return region.low if isfinite(region.low) else region.high
    if criterion.judge == "rates":
        a, b = expects
        return [b + region.low, b] if isfinite(region.low) else [a, a - region.high]
    ends = [end for end in (region.low, region.high) if isfinite(end)]
    return {**expects, "effect": min(ends, key=lambda end: abs(end - expects["effect"]))}


@pytest.mark.parametrize(("name", "number"), STATISTICAL)
def test_looks_are_enough_for_what_a_claim_expects_and_seldom_wrong_at_its_margin(name: str, number: int) -> None:
    claim = load(name)
    criterion = claim.criteria[number]
    assert criterion.expects is not None, "what were the looks planned for?"
    trials = 60
    power = reproduced(claim, criterion, criterion.expects, trials)
    assert power >= 0.8 - 2 * (0.8 * 0.2 / trials) ** 0.5, power
    wrong = reproduced(claim, criterion, at_margin(criterion), trials)
    assert wrong <= 0.05 + 3 * (0.05 * 0.95 / trials) ** 0.5, wrong


GENERAL: Mapping[str, tuple[Mapping[str, Any], Any]] = {
    "mean": ({"of": "x", "in": "a", "above": 1.0}, {"effect": 2.0, "deviation": 1.5}),
    "difference": ({"of": "x", "between": ["a", "b"], "above": 0.1}, {"effect": 0.3, "deviation": 0.3}),
    "ratio": ({"of": "x", "between": ["a", "b"], "above": 1.2}, {"effect": 1.6, "deviation": 0.4}),
    "slope": ({"of": "x", "against": {"a": 1, "b": 10}, "above": 0.8, "below": 1.2}, {"effect": 1.0, "deviation": 0.2}),
    "order": ({"of": "x", "settings": ["a", "b", "c"], "above": 0.0}, {"effect": 0.3, "deviation": 0.3}),
    "share": ({"of": "x", "in": "a", "above": 0.1}, 0.4),
    "rates": ({"of": "x", "between": ["a", "b"], "above": 0.1}, [0.7, 0.05]),
}


@pytest.mark.slow
@pytest.mark.parametrize("judge", GENERAL)
def test_of_2000_nulls_a_judge_calls_at_most_one_in_twenty_reproduced(judge: str) -> None:
    keys, expects = GENERAL[judge]
    criterion = Criterion.parse(judge, {**keys, "expects": expects})
    claim = stated([criterion], looks=[10, 20, 40])
    assert reproduced(claim, criterion, at_margin(criterion), 2000) <= 0.05
    assert reproduced(claim, criterion, expects, 2000) >= 0.8


def stated(criteria: list[Criterion], looks: list[int]) -> Claim:
    settings = {name: ["dataset=xor"] for criterion in criteria for name in criterion.settings}
    return Claim("made_up", "", "", "", "lecture", settings, looks, {}, criteria, [], "", "")


@pytest.mark.parametrize("judge", GENERAL)
def test_each_judge_gives_all_three_verdicts(judge: str) -> None:
    keys, expects = GENERAL[judge]
    criterion = Criterion.parse(judge, keys)
    random = np.random.default_rng(1)
    few, many = 3, 200
    assert criterion.answer(made_up(criterion, expects, many, random), 0.95).holds is True
    if judge in ("share", "rates"):
        wrong: Any = 0.01 if judge == "share" else [0.05, 0.05]
    else:
        wrong = {"effect": {"ratio": 0.8, "slope": 2.0}.get(judge, -1.0), "deviation": 0.2}
    assert criterion.answer(made_up(criterion, wrong, many, random), 0.95).holds is False
    answer = criterion.answer(made_up(criterion, at_margin_of(criterion, expects), few, random), 0.95)
    assert answer.holds is None


def at_margin_of(criterion: Criterion, expects: Any) -> Any:
    return at_margin(Criterion(**{**criterion.__dict__, "expects": expects}))


def test_every_run_or_pair_must_lie_in_the_region() -> None:
    values = {"a": {0: 1.0, 1: 3.0}, "b": {0: 0.5, 1: 1.0}}
    assert Criterion.parse("every", {"of": "x", "in": "a", "is": 2, "tolerance": 1}).answer(values, 0.95).holds
    assert not Criterion.parse("every", {"of": "x", "in": "a", "is": 2, "tolerance": 0.9}).answer(values, 0.95).holds
    pairs = Criterion.parse("every", {"of": "x", "between": ["a", "b"], "above": 0.5, "below": 2})
    assert pairs.answer(values, 0.95).holds and pairs.region == Region(0.5, 2)


def test_without_chance_the_slope_of_every_seed_must_lie_in_the_region() -> None:
    values = {"few": {0: 3.0, 1: 5.0}, "some": {0: 6.0, 1: 20.0}, "many": {0: 12.0, 1: 80.0}}  # slopes 1 and 2
    keys = {"of": "x", "against": {"few": 10, "some": 20, "many": 40}}
    answer = Criterion.parse("every", {**keys, "above": 0.99, "below": 2.01}).answer(values, 0.95)
    assert answer.holds and (answer.estimates[0].low, answer.estimates[0].high) == pytest.approx((1, 2))
    assert Criterion.parse("every", {**keys, "above": 1.01}).answer(values, 0.95).holds is False


def test_a_missing_number_settles_nothing_and_is_told() -> None:
    values = {"a": {0: 1.0, 1: float("nan"), 2: 1.0}, "b": {0: 0.0, 1: 0.0, 2: 0.0}}
    for judge in ("mean", "difference", "every"):
        keys: dict[str, Any] = {"between": ["a", "b"]} if judge == "difference" else {"in": "a"}
        answer = Criterion.parse(judge, {"of": "x", "above": 0.5, **keys}).answer(values, 0.95)
        assert answer.holds is None and "1 of 3 numbers are missing" in answer.problem


def test_pairs_are_of_the_same_seed() -> None:
    values = {"a": {0: 10.0, 1: 20.0, 2: 33.0}, "b": {2: 30.0, 1: 18.0, 0: 9.0}}
    answer = Criterion.parse("difference", {"of": "x", "between": ["a", "b"], "above": 0}).answer(values, 0.95)
    assert answer.estimates[0].value == pytest.approx(2.0) and answer.estimates[0].n == 3


def test_a_column_of_a_diagnostics_table_is_no_column_of_the_metrics(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text('{"status": "finished"}')
    (tmp_path / "lags.csv").write_text("epoch,step,lag,norm\n0,0,0,0.5\n0,0,7,0.25\n1,9,0,3.0\n1,9,7,2.0\n")
    keys = {"table": "lags", "column": "norm", "where": {"lag": 7}}
    assert [Measure("far", {**keys, "at": at}).of(tmp_path, {}) for at in ("first", "last")] == [0.25, 2.0]
