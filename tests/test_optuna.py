"""Optuna's search: what it is told of each run, its batches in one folder, its study kept, shown and continued."""

from __future__ import annotations

import csv
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from importlib.util import find_spec
from math import inf, log10, nextafter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from forked import forked
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf

from dlrun.command.cli import main
from dlrun.config.distributions import parser
from dlrun.errors import ConfigError
from dlrun.folder.columns import HIGHER
from dlrun.folder.reading import numbers, read_summary
from dlrun.folder.resume import read_config
from dlrun.job.summary import expected
from dlrun.metrics import metrics_for
from dlrun.report.study import study
from dlrun.sweep.objective import maximised, refuse_unknown, value_of
from dlrun.training.build import build

needs_optuna = pytest.mark.skipif(
    not find_spec("optuna"), reason="Optuna is not installed: pip install -c constraints.txt -e '.[optuna]'"
)
COMMAND = [sys.executable, "-m", "dlrun", "-m", "hydra/sweeper=optuna", "architecture.hidden=[4]", "plots=none"]


def search(*overrides: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return forked(*COMMAND[3:], *overrides, "hydra.sweep.dir=sweep", folder=folder)


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "sweep" / "sweep.csv").open() as lines:
        return list(csv.DictReader(lines))


def results(folder: Path) -> dict[str, object]:
    return yaml.safe_load((folder / "sweep" / "optimization_results.yaml").read_text())


def test_a_sweeper_is_told_the_objective_the_worst_or_nothing() -> None:
    run = {"status": "finished", "best_val_loss": 0.5, "best_val_accuracy": 0.9, "seconds": 3, "error": None}
    assert (
        value_of(run, "best_val_loss") == 0.5
        and value_of(run, "best_val_accuracy") == 0.9
        and value_of(run, "seconds") == 3
    )
    diverged = run | {"status": "diverged"}  # what it reached before is no recommendation
    assert value_of(diverged, "best_val_loss") == inf and value_of(diverged, "best_val_accuracy") == -inf
    assert [value_of({"status": status}, "seconds") for status in ("failed", "interrupted")] == [None, None]
    assert value_of(run | {"best_val_ece": None}, "best_val_ece") is None  # a number that is none stands as null
    with pytest.raises(ConfigError, match=r"no such number; did you mean best_val_accuracy\? There are"):
        value_of(run, "best_val_acuracy")


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        ["dataset=diabetes"],
        ["dataset=iris", "regularizer=[l2,ema,swa]", "train_metrics=running"],
        ["dataset=iris", "schedule=lr_range", "optimizer=sgd", "steps=30"],
        ["dataset=beale", "architecture=point", "batch_size=full"],
    ],
)
def test_every_number_of_a_summary_can_be_optimised_and_nothing_else(
    overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["dlrun", *overrides, "epochs=2", "plots=none", "hydra.run.dir=run"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    left, node = read_summary(tmp_path / "run"), read_config(tmp_path / "run")
    stack = build([node], initialize=False)
    assert numbers(expected(node, stack)) == numbers(left)
    for name in numbers(left):
        refuse_unknown([node | {"objective": name}], stack)
    for name in (left.keys() | {"val_loss", "best_val_ema_los"}) - set(numbers(left)):
        with pytest.raises(ConfigError, match=f"objective={name}: a run's summary has no such number"):
            refuse_unknown([node | {"objective": name}], stack)


def words(job: list[str]) -> dict[str, str]:
    return dict(word.split("=") for word in job)


def read(run: dict[str, str]) -> tuple[float, bool, int]:
    return float(run["lr"]), run["optimizer"] == "adam", int(run["seed"])


class Launched:
    """In place of a launcher: runs that come to a number at once, and what was launched.

    came: what a run comes to, of its lr, whether its optimizer is adam, and its seed.
    """

    def __init__(self, came: Callable[[float, bool, int], float | list[float] | None], dies: float = inf) -> None:
        self.came, self.dies, self.batches = came, dies, list[list[list[str]]]()
        self.folder = Path("sweep")

    def __call__(self, jobs: list[list[str]], initial_job_idx: int) -> list[JobReturn]:
        assert initial_job_idx == sum(map(len, self.batches))
        if len(self.batches) == self.dies:
            raise KeyboardInterrupt
        self.batches.append(jobs)
        returned = [JobReturn() for _ in jobs]
        for number, (each, job) in enumerate(zip(returned, jobs, strict=True), initial_job_idx):
            each.working_dir = str(self.folder / str(number))
            each.status, each.return_value = JobStatus.COMPLETED, self.came(*read(words(job)))
        return returned


def searched(
    launch: Launched,
    folder: Path,
    *,
    objective: Any = None,
    seeds: str = "0,1",
    problem: dict[str, Any] | None = None,
    **options: Any,
) -> Any:
    """What a search leaves in its folder: 12 points of a rate and an optimizer, in batches of 4."""
    from dlrun.sweep.search import Search
    from dlrun.sweep.space import Space

    command = ["lr=loguniform(1e-4,1)", "optimizer=sgd,adam", f"seed={seeds}", "epochs=3"]
    space = Space.of(parser().parse_overrides(command))
    config = OmegaConf.create({"objective": objective, "hydra": {"sweep": {"dir": str(folder)}}})
    folder.mkdir(exist_ok=True)
    launch.folder = folder
    how = {"n_trials": 12, "n_jobs": 4, "sampler": "tpe", "seed": 0, "storage": None, "study_name": "dlrun"}
    Search(space, problem or {}, config, launch, None, **{**how, **options}).run()
    return yaml.safe_load((folder / "optimization_results.yaml").read_text())


def bowl(lr: float, adam: bool, seed: int) -> float:
    return (log10(lr) + 2) ** 2 + (not adam) + 0.1 * seed


@needs_optuna
@pytest.mark.parametrize("sampler", ["tpe", "gp", "nsgaii", "random"])
def test_a_search_asks_in_batches_and_goes_on_as_if_nothing_had_been(sampler: str, tmp_path: Path) -> None:
    whole, again = Launched(bowl), Launched(bowl)
    found = searched(whole, tmp_path / "whole", sampler=sampler)
    runs = [words(job) for batch in whole.batches for job in batch]
    assert max(map(len, whole.batches)) == 8 and len(whole.batches) == 3 and found["trials"] == {"complete": 12}
    assert all(run["epochs"] == "3" and run["seed"] == str(i % 2) for i, run in enumerate(runs))
    told = {(run["lr"], run["optimizer"]): bowl(*read(run)) - 0.05 for run in runs[1::2]}
    assert len(told) == len(runs) / 2  # a point that is asked for twice is trained once
    best = (str(found["best_params"]["lr"]), found["best_params"]["optimizer"])
    assert found["best_value"] == pytest.approx(min(told.values())) == pytest.approx(told[best])
    assert [(runs[int(run)]["lr"], runs[int(run)]["optimizer"]) for run in found["best_runs"]] == [best] * 2
    [table] = study(tmp_path / "whole")
    assert table.rows[0][table.columns.index("its runs")].text == ", ".join(found["best_runs"])
    with pytest.raises(KeyboardInterrupt):
        searched(Launched(bowl, dies=1), tmp_path / "again", sampler=sampler)
    assert searched(again, tmp_path / "again", sampler=sampler) == found and again.batches == whole.batches
    other = Launched(bowl)
    searched(other, tmp_path / "other", sampler=sampler, seed=1)
    assert other.batches[0] != whole.batches[0]


@needs_optuna
def test_a_trial_of_which_a_run_failed_says_nothing_and_a_diverged_one_the_worst(tmp_path: Path) -> None:
    def came(lr: float, adam: bool, seed: int) -> float | None:
        return None if adam and seed else inf if lr > 0.1 and seed else 1.0

    launched = Launched(came)
    found = searched(launched, tmp_path / "sweep", sampler="random")
    runs = [read(words(job)) for batch in launched.batches for job in batch]
    failed = sum(adam for _, adam, seed in runs if seed)
    diverged = sum(lr > 0.1 and not adam for lr, adam, seed in runs if seed)
    assert found["trials"] == {"fail": failed, "diverged": diverged, "complete": 12 - failed - diverged}


@needs_optuna
@pytest.mark.parametrize("sampler", ["tpe", "gp", "nsgaii", "random"])
def test_of_several_objectives_the_front_is_found(sampler: str, tmp_path: Path) -> None:
    def came(lr: float, adam: bool, seed: int) -> list[float]:
        return [inf, -inf] if lr > 0.5 else [lr + adam, lr * (1 + adam)]

    launched = Launched(came)
    found = searched(launched, tmp_path / "sweep", objective=["loss", "val_accuracy"], seeds="0", sampler=sampler)
    told = {tuple(came(*read(words(job)))) for batch in launched.batches for job in batch}
    front = {(x, y) for x, y in told if x < inf and not any(a <= x and b >= y for a, b in told - {(x, y)})}
    assert found["direction"] == ["minimize", "maximize"]
    assert {tuple(each["values"]) for each in found["best_trials"]} == front


@needs_optuna
def test_runs_that_finish_without_a_value_are_told_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def came(lr: float, adam: bool, seed: int) -> float | None:
        return None if adam else 1.0

    launched = Launched(came)
    for number in range(0, 24, 2):  # of these, those that have no value are told of, and none of the others
        (tmp_path / "sweep" / str(number)).mkdir(parents=True)
        (tmp_path / "sweep" / str(number) / "summary.json").write_text('{"status": "finished"}')
    searched(launched, tmp_path / "sweep", sampler="random")
    runs = [read(words(job)) for batch in launched.batches for job in batch]
    without = sum(adam for _, adam, _ in runs[::2])
    assert f"{without} runs finished without a value of best_val_loss" in " ".join(capsys.readouterr().out.split())


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch) -> Any:
    """In place of a database, one in memory that outlives a search: opening SQLite takes a second."""
    import optuna

    import dlrun.sweep.search

    kept = optuna.storages.InMemoryStorage()
    monkeypatch.setattr(dlrun.sweep.search, "_opened", lambda _: kept)
    return kept


def refusal(folder: Path, **options: Any) -> str:
    """What a search is told, in a storage, before it launches anything."""
    launched = Launched(bowl)
    with pytest.raises(ConfigError, match=r"the study dlrun in kept .*hydra.sweeper.study_name=\.\.\.") as told:
        searched(launched, folder, storage="kept", **options)
    assert not launched.batches
    return str(told.value)


@needs_optuna
def test_a_study_is_of_one_problem(storage: Any, tmp_path: Path) -> None:
    iris = {"dataset": "iris", "epochs": 1}
    with pytest.raises(KeyboardInterrupt):
        searched(Launched(bowl, dies=1), tmp_path / "sweep", storage="kept", problem=iris)
    for folder in ("sweep", "other"):
        told = refusal(tmp_path / folder, problem={**iris, "epochs": 3})
        assert told.endswith("what differs:\n  epochs: 1 there, 3 in this command")
    told = refusal(tmp_path / "other", objective="train_loss", problem={"dataset": "iris", "lr": "loguniform(1e-3,1)"})
    assert "epochs: 1 there, no such key in this command" in told and "lr: no such key there" in told
    assert "objective: best_val_loss there, train_loss in this command" in told
    assert searched(Launched(bowl), tmp_path / "sweep", storage="kept", problem=iris)["trials"] == {"complete": 12}
    assert searched(Launched(bowl), tmp_path / "more", storage="kept", problem=iris)["trials"] == {"complete": 24}


@pytest.mark.slow
@needs_optuna
def test_a_problem_is_what_matters_to_what_is_searched(tmp_path: Path) -> None:
    from test_compose import loading

    from dlrun.config.catalogue import conf_dir
    from dlrun.sweep.space import Space

    with loading(conf_dir(), "dlrun", f"hydra.sweep.dir={tmp_path}") as (config, loader):

        def problem(*command: str) -> dict[str, Any]:
            return Space.of(parser().parse_overrides(["dataset=iris", *command])).problem(config, loader)

        search = ["lr=loguniform(1e-3,1)", "optimizer=sgd,adam", "seed=0,1"]
        one = problem(*search)
        assert (one["lr"], one["optimizer"], one["seed"]) == ("loguniform(1e-3,1)", "sgd,adam", "0,1")
        assert problem(*search, "note=x", "plots=none", "name=other") == one
        assert problem("lr=loguniform( 1e-3, 1)", "optimizer=choice(sgd,adam)", "seed=range(2)") == one
        for other in ("epochs=3", "dataset=digits", "lr=loguniform(1e-3,2)", "optimizer=sgd,momentum", "seed=0,1,2"):
            assert problem(*search, other) != one, other


@needs_optuna
@pytest.mark.parametrize(
    "damage",
    ["trials", "problem", "runs", "folder", "space", "range", "choice", "waiting", "fixed"],
)
def test_a_study_of_a_stranger_is_refused_where_it_says_other_things(damage: str, storage: Any, tmp_path: Path) -> None:
    import optuna

    from dlrun.sweep.search import FOLDER, PROBLEM, RUNS, WANTED

    searched(Launched(bowl), tmp_path / "sweep", storage="kept", n_trials=1)
    study = optuna.load_study(study_name="dlrun", storage=storage)
    params, distributions = study.trials[0].params, study.trials[0].distributions
    wide = {**distributions, "lr": optuna.distributions.FloatDistribution(1e-4, 1e9, log=True)}
    more = {**distributions, "optimizer": optuna.distributions.CategoricalDistribution(("sgd", "adam", "lion"))}
    of = {"params": params, "distributions": distributions, "value": 0.0}
    if damage in ("trials", "problem"):
        study.set_user_attr(WANTED if damage == "trials" else PROBLEM, "x" if damage == "trials" else 5)
    elif damage in ("waiting", "fixed"):
        study.enqueue_trial({"lr": 1e9} if damage == "waiting" else {"dataset": "digits"})
    else:
        trial: dict[str, Any] = {
            "runs": {**of, "user_attrs": {RUNS: [[5]]}},
            "folder": {**of, "user_attrs": {FOLDER: 5}},
            "space": {**of, "params": {"x": 0.5}, "distributions": {"x": distributions["lr"]}},
            "range": {**of, "params": {**params, "lr": 1e8}, "distributions": wide},
            "choice": {**of, "params": {**params, "optimizer": "lion"}, "distributions": more},
        }[damage]
        study.add_trial(optuna.trial.create_trial(**trial))
    assert "cannot be read: " in refusal(tmp_path / "sweep")


@pytest.mark.slow
@needs_optuna
@pytest.mark.parametrize(
    "damage",
    [
        "update trial_params set distribution_json = '{}'",
        "update trial_params set param_value = 17",
        "update study_user_attributes set value_json = '{'",
        "delete from trial_values",
    ],
)
def test_a_damaged_database_is_told_of_in_a_message(damage: str, tmp_path: Path) -> None:
    place = f"sqlite:///{tmp_path}/study.db"
    searched(Launched(bowl), tmp_path / "sweep", storage=place, n_trials=1)
    with closing(sqlite3.connect(tmp_path / "study.db")) as database, database:
        database.execute(damage)
    launched = Launched(bowl)
    with pytest.raises(ConfigError, match=r"the study dlrun in sqlite.* cannot be read: .*study_name=\.\.\."):
        searched(launched, tmp_path / "sweep", storage=place)
    assert not launched.batches


@needs_optuna
def test_a_study_of_which_is_not_known_what_it_searched_is_refused(storage: Any, tmp_path: Path) -> None:
    import optuna

    study = optuna.create_study(study_name="dlrun", storage=storage)
    study.tell(study.ask(), 1.0)
    assert "does not say what was searched" in refusal(tmp_path / "sweep")


@needs_optuna
def test_words_are_read_as_distributions() -> None:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    from dlrun.sweep.space import Space

    below = nextafter(1, 0)
    wanted = {
        "loguniform(1e-3,1)": (FloatDistribution(1e-3, below, log=True), 0.0123456789, 0.0123457),
        "interval(0,1)": (FloatDistribution(0, below), 0.5, 0.5),
        "randint(1,8)": (IntDistribution(1, 8), 8, 8),
        "tag(log,randint(1,8))": (IntDistribution(1, 8, log=True), 8, 8),
        "range(2,9,3)": (IntDistribution(2, 8, step=3), 5, 5),
        "range(9,2,-3)": (IntDistribution(3, 9, step=3), 6, 6),
        "range(0.5,2,0.5)": (IntDistribution(0, 2), 1, 1.0),
        "choice(a,b)": (CategoricalDistribution(("a", "b")), "b", "b"),
        "[1,2],[3]": (CategoricalDistribution(("[1,2]", "[3]")), "[3]", "[3]"),
    }
    for word, (distribution, x, value) in wanted.items():
        axis = Space.of(parser().parse_overrides([f"x={word}"])).axes["x"]
        assert axis.distribution == distribution, word
        assert axis.value(x) == value, word
    lists = Space.of(parser().parse_overrides(["a=[1,2.5e-3],[]", "b=[x,y],null", "c=1,2"]))
    told = lists.told({"a": "[1,2.5e-3]", "b": "[x,y]", "c": "1"})
    assert told == {"a": [1, 0.0025], "b": ["x", "y"], "c": "1"}


@needs_optuna
def test_an_unknown_objective_is_refused_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    unknown = ["dataset=iris", "regularizer=ema", "objective=best_val_ema_acuracy"]
    search = ["hydra/sweeper=optuna", "lr=interval(0.1,1)", "hydra.sweep.dir=sweep"]
    monkeypatch.setattr(sys, "argv", ["dlrun", "-m", *unknown, *search])
    with pytest.raises(SystemExit) as ended:
        main()
    told = " ".join(capfd.readouterr().err.split())
    assert ended.value.code == 2, told
    assert "objective=best_val_ema_acuracy: a run's summary has no such number" in told
    assert "did you mean best_val_ema_accuracy?" in told
    assert not list(tmp_path.iterdir())


def test_more_is_better_of_the_metrics_that_say_so() -> None:
    given = {"targets": torch.zeros(2, 1), "rows": lambda _: slice(0, 2)}
    datasets: list[Any] = [
        SimpleNamespace(task=task, outputs=11, surface=None, **given) for task in ("binary", "regression", "")
    ]
    said = {metric.name: metric.better for dataset in datasets for metric in metrics_for(dataset)}
    assert {name for name, better in said.items() if better == "higher"} == set(HIGHER)
    for name, better in said.items():
        assert maximised(f"best_val_{name}") == (better == "higher"), name
    assert not maximised("best_val_loss") and not maximised("steps_per_second")


@pytest.mark.slow
@needs_optuna
def test_a_packed_search_finds_the_same_and_is_resumed(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    space = ["dataset=iris", "epochs=2", "lr=loguniform(1e-3,1)", "architecture.hidden=[4],[3,5]", "seed=0,1"]
    batches = ["hydra.sweeper.n_trials=4", "hydra.sweeper.n_jobs=2"]
    found = []
    for keep in ("folders", "packed"):
        (tmp_path / keep).mkdir()
        ended = search(*space, *batches, f"hydra.sweeper.keep={keep}", folder=tmp_path / keep)
        assert ended.returncode == 0, ended.stderr
        found.append(results(tmp_path / keep))
    assert found[0] == found[1] and found[0]["best_params"]["architecture.hidden"] in ([4], [3, 5])
    sweep = tmp_path / "packed" / "sweep"
    assert [path.name for path in sweep.iterdir() if path.is_dir()] == ["packed"]
    assert len(rows(tmp_path / "packed")) == 8
    assert forked("resume", "sweep", folder=tmp_path / "packed").returncode == 0
    assert results(tmp_path / "packed") == found[0]


@pytest.mark.slow
@needs_optuna
def test_a_study_in_sqlite_goes_on_in_the_same_folder(tmp_path: Path) -> None:
    import optuna

    batches = ["hydra.sweeper.n_trials=4", "hydra.sweeper.n_jobs=2", "hydra.sweeper.storage=sqlite:///study.db"]
    space = ["dataset=iris", "epochs=2", "lr=tag(log,interval(1e-3,1))", "optimizer=sgd,adam"]
    for times in (1, 2):
        ended = search(*space, *batches, folder=tmp_path)
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout.count("report.html") == 1  # at the end, not after each batch
        table, study = rows(tmp_path), optuna.load_study(study_name="dlrun", storage=f"sqlite:///{tmp_path}/study.db")
        assert [row["run"] for row in table] == [str(i) for i in range(4 * times)]
        told = sorted((trial.params["lr"], trial.value) for trial in study.trials)
        rates, losses = zip(*sorted((float(row["lr"]), float(row["best_val_loss"])) for row in table), strict=True)
        assert [value for _, value in told] == list(losses)
        assert [lr for lr, _ in told] == pytest.approx(rates, rel=1e-5)  # which are rounded to six digits
        found = results(tmp_path)
        assert found["best_value"] == min(value for _, value in told) and found["trials"] == {"complete": 4 * times}
        page = (tmp_path / "sweep" / "report.html").read_text()
        assert "<h2>Search</h2>" in page and f"{4 * times} complete" in page


@pytest.mark.slow
@needs_optuna
@pytest.mark.skipif(sys.platform != "linux", reason="forks")
@pytest.mark.parametrize("storage", ["sqlite:///study.db", "null"])
def test_a_search_that_was_killed_comes_to_the_end_of_an_undisturbed_one(
    storage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import optuna
    from test_faults import ended

    from dlrun.sweep.trainers import Here

    def killed_in_the_second_batch() -> None:
        train, batches = Here.train, iter((1, 2))

        def training(self: Here, *arguments: Any) -> bool:
            if next(batches) == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            return train(self, *arguments)

        Here.train = training  # type: ignore[method-assign]

    options = ["hydra.sweeper.n_trials=5", "hydra.sweeper.n_jobs=2", f"hydra.sweeper.storage={storage}"]
    space = ["dataset=iris", "epochs=2", "lr=interval(0.01,0.1)", "hydra.sweeper.seed=3", "dataset.split_seed=1"]
    found, told = {}, ""
    for name, before in (("whole", None), ("killed", killed_in_the_second_batch)):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        code, told = ended([*COMMAND[3:], *space, *options, "hydra.sweep.dir=sweep"], tmp_path / "log", before)
        assert code == (-signal.SIGKILL if before else 0), told
        if before and storage != "null":
            states = [trial.state.name for trial in optuna.load_study(study_name="dlrun", storage=storage).trials]
            assert states == ["COMPLETE", "COMPLETE", "RUNNING", "RUNNING"]
        for _ in range(2 if before else 0):  # what is complete is not begun again
            code, told = ended(["resume", "sweep", options[-1]], tmp_path / "log")
            assert code == 0, told
        found[name] = [(row["run"], row["status"], row["lr"], row["best_val_loss"]) for row in rows(tmp_path / name)]
        assert results(tmp_path / name)["trials"] == {"complete": 5} and len(found[name]) == 5
    assert "5 runs: 5 finished" in told
    assert found["killed"] == found["whole"]
    assert {row[1] for row in found["killed"]} == {"finished"}


@pytest.mark.slow
@needs_optuna
def test_a_refusal_leaves_no_study_and_a_study_keeps_its_direction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    import optuna

    monkeypatch.chdir(tmp_path)
    storage = f"sqlite:///{tmp_path}/study.db"
    options = ["hydra.sweeper.n_trials=1", f"hydra.sweeper.storage={storage}", "hydra.sweep.dir=sweep"]

    def told(objective: str) -> str:
        space = ["dataset=iris", "epochs=1", "lr=interval(0.01,0.1)", f"objective={objective}"]
        monkeypatch.setattr(sys, "argv", [*COMMAND[2:], *space, *options])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2
        return " ".join(capfd.readouterr().err.split())

    assert "did you mean best_val_accuracy?" in told("best_val_acuracy")
    assert not optuna.get_all_study_summaries(
        storage=storage
    )  # one that minimises would be in the way of the right spelling
    optuna.create_study(study_name="dlrun", storage=storage, direction="minimize")
    assert "is to minimize, this search to maximize: give it another name" in told("best_val_accuracy")
    assert {file.name for file in tmp_path.iterdir()} == {"study.db"}


FAILING = """
from dlrun.optimizers.sgd import SGD

class Failing(SGD):
    traceable = False

    def update(self, theta, g, state, *, lr, fails):
        if (fails == 1).any():
            raise MemoryError("out of memory")
        super().update(theta, g, state, lr=lr)
"""


@pytest.mark.slow
@needs_optuna
def test_runs_that_fail_or_diverge_are_counted_and_more_accuracy_is_better(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text(FAILING)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    own = ["optimizer=sgd", "optimizer._target_=mine.Failing", "allow_targets=[mine]"]
    space = ["dataset=diabetes", "epochs=1", "+optimizer.fails=0,1", "lr=0.001,0.01,1e30"]
    chance = ["hydra.sweeper.sampler=random", "hydra.sweeper.n_trials=24", "hydra.sweeper.n_jobs=12"]
    ended = search(*own, *space, *chance, "objective=best_val_r2", folder=tmp_path)
    assert ended.returncode == 1, ended.stderr
    found, table = results(tmp_path), rows(tmp_path)
    assert len({(row["optimizer.fails"], row["lr"]) for row in table}) == len(table) <= 6  # each is trained once
    assert {row["status"] for row in table} == {"finished", "failed", "diverged"}
    assert found["trials"].keys() == {"fail", "complete", "diverged"} and sum(found["trials"].values()) == 24
    assert found["direction"] == "maximize"
    assert found["best_value"] == max(float(row["best_val_r2"]) for row in table if row["status"] == "finished")
    assert f"{found['trials']['fail']} failed" in (tmp_path / "sweep" / "report.html").read_text()


@pytest.mark.slow
@needs_optuna
def test_the_same_search_is_not_trained_again(tmp_path: Path) -> None:
    space = ["dataset=iris", "epochs=1", "lr=interval(0.01,0.1)", "hydra.sweeper.n_trials=2"]
    assert search(*space, folder=tmp_path).returncode == 0
    ended = forked("resume", "sweep", folder=tmp_path)
    assert ended.returncode == 0 and "2 of 2 runs are there already" in ended.stdout, ended.stderr


@needs_optuna
@pytest.mark.parametrize("key", ["zip=[lr]", "settings=list.yaml"])
def test_what_combines_values_by_itself_is_refused(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["dlrun", "-m", "hydra/sweeper=optuna", "lr=interval(0.01,0.1)", key])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2 and not list(tmp_path.iterdir())
    told = " ".join(capfd.readouterr().err.split())
    assert told.startswith(f"dlrun: {key.partition('=')[0]}: hydra/sweeper=optuna chooses the values itself")
