"""Folds, splits and datasets in a report are no settings: folds are averaged and corrected, datasets ranked."""

from __future__ import annotations

import io
from itertools import product
from math import inf, isnan, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from scipy import stats
from test_report import findings, write_run

from dlrun.report.across import across, interquartile_mean, interval, places, profile, ranked, resampled
from dlrun.report.report import report
from dlrun.report.statistics import mean_interval

SPLIT = {"rows": {"train": 100, "val": 25, "test": 20}, "split": "fold 0 of 5"}


def folded(folder: Path, values: dict[str, np.ndarray], *typed: str, told: dict[str, Any] = SPLIT) -> Path:
    """Runs of settings over folds and seeds: of each setting the test values (folds, seeds)."""
    for setting, each in values.items():
        for fold, seed in product(*map(range, each.shape)):
            words = [f"optimizer={setting}", f"dataset.fold={fold}", f"seed={seed}", "dataset.folds=5", *typed]
            value = float(each[fold, seed])
            write_run(folder / f"{setting}{fold}{seed}", *words, test=value, accuracy=value, dataset=told)
    return folder


def test_folds_are_averaged_and_their_interval_is_the_corrected_one(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    values = {"sgd": random.uniform(0.5, 0.6, (5, 3)), "adam": random.uniform(0.6, 0.7, (5, 3))}
    found = findings(folded(tmp_path / "s", values))
    assert found.axes == ["optimizer"] and found.repeats.what == "fold"
    rows = found.settings.set_index("optimizer")
    t = stats.t.ppf(0.975, 4)
    for name, each in values.items():
        means = each.mean(1)
        odds = np.log(means.mean() / (1 - means.mean()))  # the scale of shares, by the delta method
        half = t * means.std(ddof=1) / (means.mean() * (1 - means.mean())) * sqrt(1 / 5 + 25 / 100)
        assert rows.loc[name, "n"] == 15 and rows.loc[name, "mean"] == pytest.approx(means.mean())
        assert rows.loc[name, "std"] == pytest.approx(means.std(ddof=1))
        ends = 1 / (1 + np.exp([half - odds, -half - odds]))
        assert rows.loc[name, ["low", "high"]].tolist() == pytest.approx(ends)
    [compared] = found.comparisons.to_dict("records")
    d = (values["sgd"] - values["adam"]).mean(1)
    assert compared["n"] == 5 and compared["difference"] == pytest.approx(d.mean())
    assert compared["high"] - d.mean() == pytest.approx(t * d.std(ddof=1) * sqrt(1 / 5 + 25 / 100), rel=0.01)
    assert compared["verdict"] == "optimizer=adam is better than optimizer=sgd"


def test_a_lost_fold_is_left_out_of_pairs_and_weighs_no_other(tmp_path: Path) -> None:
    values = {"sgd": np.array([[0.1, 0.3], [0.5, 0.7]]), "adam": np.array([[0.2, 0.2], [0.6, 0.6]])}
    folder = folded(tmp_path / "s", values)
    for lost in ("sgd01", "adam10", "adam11"):
        text = (folder / lost / "summary.json").read_text()
        (folder / lost / "summary.json").write_text(text.replace('"finished"', '"failed"'))
    found = findings(folder)
    rows = found.settings.set_index("optimizer")
    assert rows.loc["sgd", "mean"] == pytest.approx((0.1 + (0.5 + 0.7) / 2) / 2) and rows.loc["sgd", "n"] == 3
    assert rows.loc["adam", "mean"] == pytest.approx(0.2)
    [compared] = found.comparisons.to_dict("records")
    assert compared["n"] == 1 and compared["verdict"] == "one fold: nothing can be told"


def test_a_split_by_the_seed_is_corrected_too_whether_typed_or_in_the_config(tmp_path: Path) -> None:
    told = {"rows": {"train": 60, "val": 20, "test": 30}, "split": "dataset.split_seed=0"}
    for seed in range(4):
        write_run(
            tmp_path / "a" / str(seed), f"seed={seed}", "dataset.split_seed=${seed}", test=0.5 + seed / 10, dataset=told
        )
        write_run(tmp_path / "b" / str(seed), f"seed={seed}", test=0.5 + seed / 10, dataset=told)
        write_run(tmp_path / "c" / str(seed), f"seed={seed}", test=0.5 + seed / 10, dataset=told)
        (tmp_path / "b" / str(seed) / ".hydra" / "config.yaml").write_text("dataset:\n  split_seed: ${seed}\n")
    x = [0.5, 0.6, 0.7, 0.8]
    for name in "ab":
        found = findings(tmp_path / name)
        assert found.repeats.what == "split" and found.repeats.overlap == 0.5  # test rows per training row
        assert found.settings[["low", "high"]].iloc[0].tolist() == pytest.approx(mean_interval(x, (0, 1), overlap=0.5))
    assert findings(tmp_path / "c").settings["low"].iloc[0] == mean_interval(x, (0, 1))[0]


def test_of_a_fixed_test_part_the_rows_that_validate_say_how_far_splits_overlap(tmp_path: Path) -> None:
    told = {"rows": {"train": 60, "val": 20, "test": 30}, "split": "own test, dataset.split_seed=0"}
    for seed in range(3):
        write_run(tmp_path / "a" / str(seed), f"dataset.split_seed={seed}", test=0.5 + seed / 10, dataset=told)
    assert findings(tmp_path / "a").repeats.overlap == pytest.approx(1 / 3)
    for run in (tmp_path / "a").glob("*/summary.json"):
        run.write_text(run.read_text().replace('"train": 60', '"train": "many"'))
    assert findings(tmp_path / "a").repeats.overlap == 1  # where no file tells, more than any usual split has


@pytest.mark.slow
def test_corrected_interval_covers_where_students_does_not() -> None:
    """Of normal values with the correlation $n_2 / (n_1 + n_2)$ that Nadeau & Bengio assume, here of 5 folds."""
    random, overlap = np.random.default_rng(0), 1 / 4
    rho = overlap / (1 + overlap)
    x = sqrt(rho) * random.normal(size=(1000, 1)) + sqrt(1 - rho) * random.normal(size=(1000, 5))
    plain, corrected = (
        np.mean([low < 0 < high for low, high in (mean_interval(each, overlap=o) for each in x)]) for o in (0, overlap)
    )
    assert plain < 0.92 and 0.935 < corrected < 0.98


@pytest.mark.slow
def test_corrected_t_is_that_of_scikit_learns_example() -> None:
    """scikit-learn's "Statistical comparison of models using grid search" prints t = 0.750 and p = 0.227."""
    from sklearn.datasets import make_moons
    from sklearn.model_selection import RepeatedStratifiedKFold, cross_val_score
    from sklearn.svm import SVC

    x, y = make_moons(noise=0.352, random_state=1, n_samples=100)
    folds = RepeatedStratifiedKFold(n_splits=10, n_repeats=10, random_state=0)
    scores = [cross_val_score(SVC(kernel=kernel), x, y, cv=folds, scoring="roc_auc") for kernel in ("rbf", "linear")]
    d = scores[0] - scores[1]
    low, high = mean_interval(d, overlap=1 / 9)
    t = d.mean() / ((high - low) / 2 / stats.t.ppf(0.975, 99))
    assert t == pytest.approx(0.750, abs=5e-4) and stats.t.sf(t, 99) == pytest.approx(0.227, abs=5e-4)


# Datasets


def on_datasets(folder: Path, **options: Any) -> Path:
    """Two optimizers on three datasets, three seeds; sgd diverges once on wine."""
    means = {"iris": (0.9, 0.8), "wine": (0.7, 0.75), "moons": (0.6, 0.6)}
    for dataset, pair in means.items():
        for optimizer, mean in zip(("adam", "sgd"), pair, strict=True):
            for seed, off in enumerate((-0.02, 0.0, 0.02)):
                lost = (dataset, optimizer, seed) == ("wine", "sgd", 2)
                write_run(
                    folder / str(len([*folder.glob("*")])), f"dataset={dataset}", f"optimizer={optimizer}",
                    f"seed={seed}", test=mean + off, accuracy=mean, status="diverged" if lost else "finished",
                    **options,
                )  # fmt: skip
    return folder


def test_datasets_are_compared_each_for_itself_and_ranked_over_all(tmp_path: Path) -> None:
    found = findings(on_datasets(tmp_path / "s"))
    assert list(found.strata) == ["iris", "wine", "moons"] and found.axes == ["dataset", "optimizer"]
    assert all(each.axes == ["optimizer"] and len(each.comparisons) == 1 for each in found.strata.values())
    assert found.comparisons["dataset"].tolist() == ["iris", "wine", "moons"]
    assert found.strata["wine"].settings["optimizer"].tolist() == ["adam", "sgd"]  # the other diverged once
    assert found.bests == {f"dataset={name} optimizer=adam" for name in ("iris", "wine", "moons")}
    over = across(found)
    assert over and over.diverged == 1 and over.runs == 18 and over.metric == "accuracy" and over.comparable
    rows = over.table.set_index("optimizer")
    assert rows["ranks"].to_dict() == {"adam": (1.0, 1.0, 1.5), "sgd": (2.0, 2.0, 1.5)}
    assert rows["rank"].tolist() == pytest.approx([3.5 / 3, 5.5 / 3])
    scores = [0.88, 0.9, 0.92, 0.68, 0.7, 0.72, 0.58, 0.6, 0.62]
    assert rows.loc["adam", "iqm"] == pytest.approx(stats.trim_mean(scores, 0.25))
    worst = [0.78, 0.8, 0.82, 0.73, 0.75, 0.0, 0.58, 0.6, 0.62]  # what diverged counts as 0
    assert rows.loc["sgd", "iqm"] == pytest.approx(stats.trim_mean(worst, 0.25))
    assert rows.loc["adam", "iqm_low"] < rows.loc["adam", "iqm"] < rows.loc["adam", "iqm_high"]
    share = over.profiles["optimizer=sgd"][0]
    assert share == pytest.approx([np.mean([score > tau for score in worst]) for tau in over.taus])


@pytest.mark.slow
def test_losses_of_datasets_are_ranked_alone_and_the_page_says_how(tmp_path: Path) -> None:
    folder = on_datasets(tmp_path / "s")
    over = across(findings(folder, metric="loss"))
    assert over and not over.comparable and "iqm" not in over.table and not over.profiles
    assert over.table["optimizer"].tolist() == ["adam", "sgd"]
    console = Console(file=io.StringIO(), width=300)
    report([folder], metric="loss", console=console)
    printed = " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]
    for text in (printed, (folder / "report.html").read_text()):
        assert "Over 3 datasets, by mean rank of test loss" in text and "on 3 datasets" in text
        assert "Values of loss do not compare from dataset to dataset: ranks alone." in text
        assert "Settings on wine: loss" in text and "Compared with optimizer=adam on moons" in text
    assert (folder / "comparison.png").exists() and (folder / "datasets.png").exists()


def test_what_is_not_on_every_dataset_is_left_out_of_the_ranks_and_told(tmp_path: Path) -> None:
    folder = on_datasets(tmp_path / "s")
    write_run(folder / "extra", "dataset=iris", "optimizer=lion", "seed=0")
    over = across(findings(folder))
    assert over and over.left_out == ["optimizer=lion"] and over.table["optimizer"].tolist() == ["adam", "sgd"]
    write_run(folder / "alone", "dataset=digits", "optimizer=lion", "seed=0")
    assert across(findings(folder)) is None  # no setting is on all of them


def test_datasets_without_a_finished_run_and_settings_that_left_have_no_say(tmp_path: Path) -> None:
    folder = on_datasets(tmp_path / "s")
    for optimizer in ("adam", "sgd"):
        write_run(folder / f"lost {optimizer}", "dataset=digits", f"optimizer={optimizer}", "seed=0", status="diverged")
    for run in folder.glob("*"):
        if "dataset=moons" in (text := (run / ".hydra" / "overrides.yaml").read_text()) and "adam" in text:
            summary = (run / "summary.json").read_text()
            (run / "summary.json").write_text(summary.replace('"finished"', '"pruned"'))
    found = findings(folder)
    over = across(found)
    assert over and over.datasets == ["iris", "wine", "moons"] and over.unfinished == 1 and found.metric == "accuracy"
    assert dict(zip(over.table["optimizer"], over.table["ranks"], strict=True)) == {"adam": (1, 1, 2), "sgd": (2, 2, 1)}


def test_a_key_that_goes_with_the_dataset_makes_no_setting(tmp_path: Path) -> None:
    for dataset, epochs in (("iris", 5), ("digits", 9)):
        for lr in (0.1, 1):
            write_run(tmp_path / "s" / f"{epochs}{lr}", f"dataset={dataset}", f"epochs={epochs}", f"lr={lr}", "seed=0")
    found = findings(tmp_path / "s")
    assert [each.axes for each in found.strata.values()] == [["lr"], ["lr"]]
    assert list(found.strata) == ["iris", "digits"]


def test_tables_in_files_are_datasets_and_other_keys_of_a_dataset_are_settings(tmp_path: Path) -> None:
    for path, noise in product(("a.csv", "b.csv"), (0.0, 0.5)):
        typed = ["dataset=table", f"dataset.path={path}", f"dataset.label_noise={noise}", "seed=0"]
        write_run(tmp_path / "s" / f"{path}{noise}", *typed)
    found = findings(tmp_path / "s")
    assert list(found.strata) == ["a.csv", "b.csv"] and found.strata["a.csv"].axes == ["dataset.label_noise"]


def test_ranks_equal_scipys() -> None:
    random = np.random.default_rng(0)
    means = random.integers(0, 4, (50, 7)) / 3
    none = np.zeros_like(means)
    assert np.array_equal(ranked(none, means, False), stats.rankdata(means, axis=1))
    assert np.array_equal(ranked(none, means, True), stats.rankdata(-means, axis=1))
    shares = random.integers(0, 2, (50, 7)) / 2
    both = stats.rankdata(10 * shares + means, axis=1)
    assert np.array_equal(ranked(shares, means, False), both)
    assert ranked(np.zeros(3), np.array([0.1 + 0.2, 0.3, np.nan]), True).tolist() == [1.5, 1.5, 3]


@pytest.mark.parametrize("n", [1, 3, 4, 7, 20])
def test_interquartile_mean_is_scipys_trimmed_mean(n: int) -> None:
    x = np.random.default_rng(n).normal(size=(2, n))
    assert interquartile_mean(x) == pytest.approx(stats.trim_mean(x, 0.25, axis=1))
    assert isnan(float(interquartile_mean(np.zeros(0))))


@pytest.mark.slow
def test_resamples_keep_each_datasets_runs_and_their_interval_is_the_percentile_one() -> None:
    scores = [np.arange(5.0), 10 + np.arange(3.0)]
    drawn = resampled(scores, np.random.default_rng(0))
    assert drawn.shape == (2000, 8) and set(drawn[:, :5].ravel()) == set(scores[0])
    assert set(drawn[:, 5:].ravel()) == set(scores[1]) and len({tuple(row) for row in drawn}) > 1000
    random = np.random.default_rng(1)  # a plain loop on other numbers
    slow = [stats.trim_mean([*random.choice(scores[0], 5), *random.choice(scores[1], 3)], 0.25) for _ in range(500)]
    low, high = interval(interquartile_mean(drawn)[:, None])
    assert [low[0], high[0]] == pytest.approx(np.quantile(slow, [0.025, 0.975]), abs=0.3)
    assert interval(np.array([[-inf], [0.0], [1.0]]))[0].tolist() == [-inf]


def test_profiles_weigh_datasets_equally() -> None:
    scores = [np.array([0.1, 0.9]), np.array([0.5, 0.6, 0.7, 0.8])]
    taus = places(scores)
    assert (taus[0], taus[-1]) == (0.1, 0.9)
    at = np.array([0.05, 0.55, 0.9])
    assert profile(scores, at, True).tolist() == [1, (1 / 2 + 3 / 4) / 2, 0]
    assert profile(scores, at, False).tolist() == [0, (1 / 2 + 1 / 4) / 2, (1 / 2 + 1) / 2]
