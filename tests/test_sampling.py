"""Points that are drawn: SciPy's sequence and quantiles, the same for a seed, each with every point of the grid."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from hydra.core.override_parser.types import Override
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.stats import qmc

from dlrun.command.cli import main
from dlrun.command.mistakes import readable
from dlrun.config.distributions import parser
from dlrun.errors import ConfigError
from dlrun.sweep.sampling import along, draw
from hydra_plugins.dlrun_stack.sweeper import directions

SMALL = ["dataset=iris", "epochs=2", "plots=none", "architecture.hidden=[4]"]


def parsed(*words: str) -> list[Override]:
    return parser().parse_overrides(list(words))


def column(points: list[list[str]], key: str) -> list[str]:
    return [word.partition("=")[2] for point in points for word in point if word.startswith(f"{key}=")]


def test_the_points_are_scipys_sequence_through_scipys_quantiles() -> None:
    words = ["optimizer.momentum=uniform(0.2,0.9)", "lr=loguniform(1e-5,2)", "batch_size=randint(3,50)"]
    found = draw(parsed(*words), 64, seed=7)
    u = qmc.Sobol(3, scramble=True, seed=np.random.default_rng(7)).random(64).T  # of the keys in their order
    assert [int(n) for n in column(found, "batch_size")] == stats.randint(3, 51).ppf(u[0]).astype(int).tolist()
    lr, momentum = ([float(x) for x in column(found, key)] for key in ("lr", "optimizer.momentum"))
    np.testing.assert_allclose(lr, stats.loguniform(1e-5, 2).ppf(u[1]), rtol=5e-6)
    np.testing.assert_allclose(momentum, stats.uniform(0.2, 0.7).ppf(u[2]), rtol=5e-6)
    assert all(
        len(text.replace("0.", "").replace(".", "").lstrip("0").partition("e")[0]) <= 6 for text in column(found, "lr")
    )


def test_integers_and_choices_have_their_probabilities() -> None:
    places = (np.arange(20_000) + 0.5) / 20_000

    def shares(word: str) -> dict[str, float]:
        value = along(*parsed(word))
        values, counts = np.unique([value(u) for u in places], return_counts=True)
        return dict(zip(values.tolist(), (counts / len(places)).tolist(), strict=True))

    assert shares("epochs=randint(2,5)") == pytest.approx(dict.fromkeys("2345", 1 / 4), abs=1e-4)
    assert shares("optimizer=choice(sgd,adam,lion)") == pytest.approx(
        dict.fromkeys(["sgd", "adam", "lion"], 1 / 3), abs=1e-4
    )
    expected = {str(k): np.log((k + 1) / k) / np.log(9) for k in range(1, 9)}
    assert shares("epochs=tag(log,randint(1,8))") == pytest.approx(expected, abs=1e-4)
    assert shares("epochs=randint(3,3)") == {"3": 1}


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(0, 40), st.permutations(range(3)))
def test_a_seed_draws_the_same_points_and_more_samples_begin_with_them(
    seed: int, few: int, more: int, order: list[int]
) -> None:
    words = ["lr=loguniform(1e-5,1)", "optimizer=choice(sgd,adam)", "+a.b=interval(-1,1)"]
    found = draw(parsed(*words), few + more, seed)
    assert draw(parsed(*(words[i] for i in order)), few, seed) == found[:few]


@settings(max_examples=50, deadline=None)
@given(st.floats(1e-12, 1e12), st.floats(1e-15, 1e3), st.sampled_from(["uniform", "loguniform"]))
def test_what_is_printed_stays_in_its_range(low: float, part: float, name: str) -> None:
    high = low * (1 + part)
    if low < high:
        value = along(*parsed(f"lr={name}({low!r},{high!r})"))
        assert all(low <= float(value(u)) <= high for u in (0.0, 0.3, 0.99, 1 - 2**-53))


def test_every_point_of_the_grid_gets_every_point_that_is_drawn() -> None:
    words = parsed(
        "optimizer=sgd,adam", "lr=loguniform(1e-3,1)", "seed=range(3)", "batch_size=choice(8,16)", "epochs=2"
    )
    grid, drawn, seeds, epochs = directions(words, samples=8, seed=1)
    assert (grid, seeds, epochs) == (
        [["optimizer=sgd"], ["optimizer=adam"]],
        [["seed=0"], ["seed=1"], ["seed=2"]],
        [["epochs=2"]],
    )
    assert drawn == draw(parsed("batch_size=choice(8,16)", "lr=loguniform(1e-3,1)"), 8, 1)
    assert len(directions(words[:1] + words[3:4])[1]) == 2  # without samples a choice is every one of its values
    [few] = directions(parsed("batch_size=choice(8,16)", "epochs=randint(1,2)"), samples=64)
    assert sorted(few) == [[f"batch_size={b}", f"epochs={e}"] for b in ("16", "8") for e in (1, 2)]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["lr=loguniform(0,1)"], "lr=loguniform(0,1): 0 has no logarithm: begin above 0, or take uniform(0,1)"),
        (["epochs=tag(log,randint(-1,8))"], "-1 has no logarithm"),
        (["lr=uniform(1,0.1)"], "lr=uniform(1,0.1): the first number must be less than the second"),
        (["lr=uniform(1,1)"], "the first number must be less than the second"),
        (["epochs=randint(3,2)"], "the first number must be less than the second"),
        (["lr=interval(0,inf)"], "both ends must be finite numbers"),
        (["lr=uniform(nan,1)"], "both ends must be finite numbers"),
        (["lr=tag(lg,interval(0.1,1))"], "there is no tag lg of a range; log is one"),
        (["optimizer=uniform(0,1)"], "choices are drawn by their names: optimizer='choice(A,B,C)'"),
        (["lr=null,loguniform(1,2)"], "what is drawn is a key's whole value, and not one of several"),
        (["lr=0.1,0.2"], "hydra.sweeper.samples=8: no key has a distribution"),
        (["lr=uniform(0,1)", "seed=0,1", "zip=[lr,seed]"], "zip: lr is drawn"),
    ],
)
def test_what_cannot_be_drawn_is_refused(words: list[str], told: str) -> None:
    with pytest.raises(ConfigError) as refused:
        directions(parsed(*words), samples=8)
    assert told in str(refused.value)


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("lr=loguniform(1)", "lr=loguniform(1): the lowest and the highest value are wanted, two numbers, as in log"),
        ("lr=uniform(a,1)", "two numbers, as in uniform(0,1)"),
        ("lr=uniform(true,2)", "two numbers"),
        ("epochs=randint(1,2.5)", "two whole numbers, as in randint(1,8)"),
        ("lr=logunifrom(1,2)", "lr=logunifrom(1,2): there is no function logunifrom; did you mean loguniform?"),
        ("lr=loguniform(1,2", "did you mean lr=loguniform(1,2)?"),
        ("lr=choice()", "lr=choice(): not understood: empty choice is not legal"),
    ],
)
def test_what_cannot_be_read_is_told_with_what_is_meant(word: str, told: str) -> None:
    with pytest.raises(Exception) as refused:
        parsed(word)
    assert told in readable(refused.value)


def command(*words: str) -> int:
    sys.argv = ["dlrun", "-m", *SMALL, *words]
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_an_end_that_no_run_may_have_is_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [])
    momentum = ["optimizer=momentum", "optimizer.momentum=uniform(0,2)", "seed=0,1", "hydra.sweeper.samples=64"]
    assert command(*momentum) == 2 and command("lr=loguniform(1e-3,1)") == 2
    told = " ".join(capfd.readouterr().err.split())
    assert told.count("optimizer.momentum=uniform(0,2): optimizer.momentum=1.9999999999999998: must be in [0, 1)") == 1
    assert "lr=loguniform(1e-3,1): numbers are drawn from a range where the command says how many" in told
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_numbers_that_were_drawn_are_the_runs_and_more_of_them_are_added(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [])
    words = ["lr=loguniform(1e-3,1)", "optimizer=sgd,adam", "hydra.sweep.dir=sweep"]
    drawn = column(draw(parsed(words[0]), 8, 0), "lr")
    began: dict[str, int] = {}
    for samples in (4, 8):
        assert command(*words, f"hydra.sweeper.samples={samples}") == 0
        with Path("sweep/sweep.csv").open() as lines:
            rows = list(csv.DictReader(lines))
        assert sorted((row["optimizer"], row["lr"]) for row in rows) == sorted(
            (optimizer, lr) for optimizer in ("sgd", "adam") for lr in drawn[:samples]
        )
        for row in rows:
            file = Path("sweep", row["run"], "metrics.csv")
            text = file.read_text().splitlines()
            assert {line.split(",")[2] for line in text[2:]} == {str(float(row["lr"]))}  # what it was trained with
            assert began.setdefault(row["run"], file.stat().st_mtime_ns) == file.stat().st_mtime_ns
    commands = json.loads(Path("sweep/plan.json").read_text())["commands"]
    assert [c[-1] for c in commands] == ["hydra.sweeper.samples=4", "hydra.sweeper.samples=8"]
    before = {file: file.read_bytes() for file in Path("sweep").glob("*/metrics.csv") if file.parent.name != "5"}
    for file in Path("sweep/5").glob("*.[cj]*"):
        file.unlink()
    sys.argv = ["dlrun", "resume", "sweep"]
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code and len(list(Path("sweep").glob("*/metrics.csv"))) == 16
    assert all(file.read_bytes() == text for file, text in before.items())
