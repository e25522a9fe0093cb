"""Claims as they run: what is measured of a folder, which runs are asked for, what a command leaves."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forked import forked

from dlrun.claims import claim as claims
from dlrun.claims.claim import Claim, load, names
from dlrun.claims.conclude import conclude
from dlrun.claims.criteria import Criterion
from dlrun.claims.measures import Measure
from dlrun.claims.outcome import INCONCLUSIVE, NONE, NOT, REPRODUCED, judge, kept
from dlrun.claims.picture import comparison
from dlrun.claims.rounds import rounds
from dlrun.errors import ConfigError
from dlrun.report import collect

COLUMNS = "epoch,step,lr,train_loss,val_loss,train_accuracy,val_accuracy,grad_norm,seconds"


def run(folder: Path, losses: list[float], status: str = "finished", **summary: Any) -> Path:
    """A run's folder whose validation loss is this at steps 0, 10, 20, ..."""
    folder.mkdir(parents=True)
    rows = [f"{i},{10 * i},0.1,{loss},{loss},0.5,0.5,1,{i / 10}" for i, loss in enumerate(losses)]
    (folder / "metrics.csv").write_text("\n".join([COLUMNS, *rows, ""]))
    (folder / "summary.json").write_text(json.dumps({"status": status, "seconds": 4, "width": 2, **summary}))
    return folder


def measured(folder: Path, others: dict[str, float] | None = None, **keys: Any) -> float:
    return Measure("x", keys).of(folder, others or {})


def test_a_column_is_taken_where_the_measure_says(tmp_path: Path) -> None:
    folder = run(tmp_path / "a", [4, 1, 2])
    for at, value in {"last": 2, "first": 4, "min": 1, "max": 4, "mean": 7 / 3, 10: 1}.items():
        assert measured(folder, column="val_loss", at=at) == pytest.approx(value)
    assert measured(folder, column="val_loss", below=2.5) == 1 and measured(folder, column="val_loss", above=2.5) == 0


def test_how_soon_a_column_gets_there(tmp_path: Path) -> None:
    folder = run(tmp_path / "a", [4, 3, 1, 2])
    assert measured(folder, column="val_loss", falls_to=2) == 20
    assert measured(folder, column="val_loss", falls_to=2, **{"in": "epoch"}) == 2
    assert measured(folder, column="val_loss", rises_to=3.5) == 0
    assert isnan(measured(folder, column="val_loss", falls_to=0.5))
    assert measured(folder, column="val_loss", falls_to=0.5, lost=99) == 99


def test_a_run_that_diverged_has_no_last_value_but_its_status(tmp_path: Path) -> None:
    folder = run(tmp_path / "a", [4, 3], "diverged")
    assert isnan(measured(folder, column="val_loss")) and measured(folder, column="val_loss", lost=9) == 9
    assert measured(folder, status="diverged") == 1 and measured(folder, column="val_loss", falls_to=3) == 10


def test_a_run_that_failed_has_no_number_and_says_why(tmp_path: Path) -> None:
    folder = run(tmp_path / "a", [4], "failed", error="no memory")
    with pytest.raises(ConfigError, match="failed: no memory"):
        measured(folder, column="val_loss")


def test_numbers_of_the_summary_and_of_tables(tmp_path: Path) -> None:
    folder = run(tmp_path / "a", [1], diagnostics={"spectrum": {"condition": 7.5}}, test_accuracy=0.25)
    lines = [f"0,{step},{layer},std,{layer + step}" for step in (0, 10) for layer in (1, 2, 3)]
    (folder / "activations.csv").write_text("\n".join(["epoch,step,layer,quantity,value", *lines, ""]))
    assert measured(folder, summary="diagnostics.spectrum.condition") == 7.5
    assert measured(folder, summary="test_accuracy", below=0.5) == 1
    for layer, value in {"first": 11, "last": 13, -2: 12, "2": 12}.items():
        assert measured(folder, table="activations", where={"layer": layer, "quantity": "std"}) == value
    (folder / "gradient_norm.csv").write_text("epoch,step,grad_norm,val_loss\n0,0,2,5\n0,1,9,7\n0,2,4,6\n")
    assert measured(folder, table="gradient_norm", column="val_loss", at="max") == 7  # its own, not that of metrics.csv
    with pytest.raises(ConfigError, match="no row where"):
        measured(folder, table="activations", where={"quantity": "mean"})
    with pytest.raises(ConfigError, match="no number best"):
        measured(folder, summary="best")


def test_measures_are_made_of_others(tmp_path: Path) -> None:
    folder = run(tmp_path / "a", [1])
    assert measured(folder, {"a": 3.0, "b": 4.0}, minus=["a", "b"]) == -1
    assert measured(folder, {"a": 3.0, "b": 4.0}, over=["a", "b"]) == 0.75
    assert isnan(measured(folder, {"a": 3.0, "b": 0.0}, over=["a", "b"]))


def stated(tmp_path: Path, **keys: Any) -> Claim:
    """A claim that the loss of `a` is above that of `b` by 1 at least."""
    criterion = Criterion.parse("difference", {"of": "loss", "between": ["a", "b"], "above": 1})
    return Claim(**{
        "name": "made_up", "sentence": "It holds", "source": "", "figure": "", "scale": "lecture", "looks": [3, 5],
        "settings": {"b": ["lr=1"], "a": ["initializer.path={b}"]}, "criteria": [criterion], "pictures": [],
        "measures": {"loss": Measure("loss", {"column": "val_loss"})}, "tried": "", "why": "", **keys,
    })  # fmt: skip


class Trainer:
    """In place of a launcher: a run's folder for every job, with the loss that a setting has."""

    def __init__(self, folder: Path, losses: dict[str, Any], fail: str = "") -> None:
        self.folder, self.losses, self.fail, self.jobs = folder, losses, fail, list[list[list[str]]]()

    def __call__(self, jobs: list[list[str]]) -> list[Path]:
        self.jobs.append(jobs)
        if self.fail and any(self.fail in job for job in jobs):
            raise ConfigError("the data are not here")
        found = []
        for job in jobs:
            name = job[-1].removeprefix("name='").removesuffix("'")
            setting, _, seed = name.split("/")[1].partition("-")
            path = self.folder / name
            found.append(path if path.exists() else run(path, [self.losses[setting](int(seed))]))
        return found


def test_more_seeds_are_asked_for_until_it_is_decided(tmp_path: Path) -> None:
    clear = Trainer(tmp_path / "clear", {"a": lambda seed: 5 + 0.1 * (seed % 3), "b": lambda seed: 1 + 0.05 * seed})
    assert not rounds([stated(tmp_path)], 0, tmp_path / "clear", clear)
    assert [len(jobs) for jobs in clear.jobs] == [3, 3]  # b, and a, which begins from b's runs
    unclear = Trainer(tmp_path / "unclear", {"a": lambda seed: 1 + 3 * (seed % 2), "b": lambda seed: 1 + 0.05 * seed})
    rounds([stated(tmp_path)], 0, tmp_path / "unclear", unclear)
    assert [len(jobs) for jobs in unclear.jobs] == [3, 3, 2, 2]
    word = judge(stated(tmp_path), kept(tmp_path / "unclear", stated(tmp_path)), 0.95).word
    assert word == INCONCLUSIVE


def test_a_run_begins_from_that_of_its_own_seed(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path, {"a": lambda seed: 9.0 + seed, "b": lambda seed: 1 + seed**2})
    rounds([stated(tmp_path)], 0, tmp_path, trainer)
    assert trainer.jobs[1][2][:2] == [f"initializer.path='{tmp_path}/made_up/b-2'", "seed=2"]


def test_repeating_takes_other_seeds(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path, {"a": lambda seed: 9.0 + seed % 2, "b": lambda seed: 1 + 0.1 * (seed % 3)})
    rounds([stated(tmp_path)], claims.AGAIN, tmp_path, trainer)
    assert [job[-2] for job in trainer.jobs[0]] == [f"seed={claims.AGAIN + i}" for i in range(3)]


def test_claims_without_their_data_do_not_keep_others_from_being_judged(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path, {"a": lambda seed: 9 + 0.1 * seed, "b": lambda seed: 1 + 0.3 * seed}, fail="absent")
    other = stated(tmp_path, name="other", settings={"a": ["absent"], "b": ["absent"]})
    refused = rounds([stated(tmp_path), other], 0, tmp_path, trainer)
    assert refused == {"other": "the data are not here"}
    assert judge(stated(tmp_path), kept(tmp_path, stated(tmp_path)), 0.95).word == REPRODUCED


def test_verdicts_by_the_numbers(tmp_path: Path) -> None:
    for name, a, word in (("up", 3.0, REPRODUCED), ("down", 1.5, NOT)):
        folders = {
            setting: {
                seed: run(tmp_path / name / f"{setting}-{seed}", [start + noise]) for seed, noise in enumerate(noises)
            }
            for setting, start, noises in (("a", a, [0, 0.1, 0.2]), ("b", 1.0, [0.1, 0, 0.2]))
        }
        assert judge(stated(tmp_path), folders, 0.95).word == word
    (folders["a"][1] / "summary.json").write_text('{"status": "interrupted"}')
    verdict = judge(stated(tmp_path), folders, 0.95)
    assert verdict.word == NONE and "interrupted" in verdict.problem


def test_the_scale_is_told_with_the_verdict(tmp_path: Path) -> None:
    folders = {
        s: {i: run(tmp_path / f"{s}-{i}", [x + 0.1 * i * (s == "a")]) for i in range(3)}
        for s, x in (("a", 3), ("b", 1))
    }
    assert judge(stated(tmp_path, scale="small"), folders, 0.95).told == "reproduced at small scale"


def test_a_list_of_runs_that_leads_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "made_up").mkdir()
    (tmp_path / "made_up" / "runs.csv").write_text("setting,seed,run\na,0,../elsewhere\n")
    with pytest.raises(ConfigError, match="elsewhere"):
        kept(tmp_path, stated(tmp_path))
    (tmp_path / "made_up" / "runs.csv").write_text("setting,seed,run\nc,0,x\n")
    with pytest.raises(ConfigError, match="does not tell of the runs"):
        kept(tmp_path, stated(tmp_path))


def test_tables_and_page_tell_every_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trainer = Trainer(tmp_path, {"a": lambda seed: 9 + 0.1 * seed, "b": lambda seed: 1 + 0.3 * seed})
    claim = stated(tmp_path, sentence="<b> & more")
    rounds([claim], 0, tmp_path, trainer)
    assert not conclude(tmp_path, [claim, stated(tmp_path, name="other")], {"other": "no data"})
    [row, other] = csv.DictReader((tmp_path / "claims.csv").read_text().splitlines())
    d = [8 + 0.1 * i - 0.3 * i for i in range(3)]
    assert float(row["estimate"]) == pytest.approx(sum(d) / 3) and float(row["low"]) < 8 - 0.2 < float(row["high"])
    assert row["n"] == "3" and row["verdict"] == "reproduced" and other["verdict"] == "no verdict"
    numbers = list(csv.DictReader((tmp_path / "made_up" / "measured.csv").read_text().splitlines()))
    assert [float(each["value"]) for each in numbers if each["setting"] == "a"] == pytest.approx([9, 9.1, 9.2])
    page = (tmp_path / "index.html").read_text()
    assert "&lt;b&gt; &amp; more" in page and "no data" in page and (tmp_path / "made_up/claim.png").exists()
    assert "7.800 [" in capsys.readouterr().out


def test_settings_side_by_side_have_a_curve_each_over_their_seeds(tmp_path: Path) -> None:
    losses = {"a": [4.0, 2.0, 1.0], "b": [8.0, 4.0, 3.0]}
    folders = {
        name: {seed: run(tmp_path / "made_up" / f"{name}-{seed}", [loss + seed for loss in own]) for seed in range(3)}
        for name, own in losses.items()
    }
    (folders["b"][2] / "summary.json").write_text('{"status": "diverged", "seconds": 1}')
    for file in (tmp_path / "made_up").rglob("metrics.csv"):
        file.write_text(file.read_text().replace("_accuracy", "_r2"))
    collect.write_tables([tmp_path / "made_up"], tmp_path / "made_up")
    axes = comparison(tmp_path, stated(tmp_path), folders).axes[0]
    drawn = {str(line.get_label()).split(" ")[0]: np.asarray(line.get_ydata()) for line in axes.get_lines()}
    np.testing.assert_allclose(drawn["a"], [5, 3, 2])  # of the seeds 0, 1 and 2
    np.testing.assert_allclose(drawn["b"], [8.5, 4.5, 3.5])  # of 0 and 1
    assert any("1 of 3 diverged" in str(line.get_label()) for line in axes.get_lines())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["xor_bad_int"], "there is no such claim; did you mean xor_bad_init?"),
        (["lr=3"], "claims lr=3: a claim has its runs"),
        (["--lage"], "there is no such option; did you mean --large?"),
    ],
)
def test_mistakes_are_told_before_anything_is_trained(words: list[str], told: str, tmp_path: Path) -> None:
    done = forked("claims", *words, folder=tmp_path)
    assert done.returncode == 2 and told in done.stderr and not list(tmp_path.iterdir())


def test_all_claims_are_listed(tmp_path: Path) -> None:
    done = forked("claims", "--list", folder=tmp_path)
    assert [line.split()[0] for line in done.stdout.splitlines()] == names()


@pytest.mark.parametrize("name", names())
def test_a_claim_states_what_it_should(name: str) -> None:
    claim = load(name)
    assert claim.sentence and claim.source and list(claim.stages()) and load(name, large=True)
    assert sorted(claim.looks) == list(claim.looks)


def test_a_plan_of_a_strangers_leads_to_no_other_file(tmp_path: Path) -> None:
    plan = {"commands": [["hydra/sweeper=claims", "hydra.sweeper.claims=[..]"]], "runs": {}}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    done = forked("resume", str(tmp_path), folder=tmp_path)
    assert done.returncode == 2 and "hydra.sweeper.claims" in done.stderr


@pytest.mark.slow
def test_a_command_that_is_killed_goes_on_and_ends_with_the_same_table(tmp_path: Path) -> None:
    whole = forked("claims", "xor_bad_init", "hydra.sweep.dir=whole", folder=tmp_path)
    assert whole.returncode == 0 and "xor_bad_init" in whole.stdout, whole.stderr
    words = [sys.executable, "-m", "dlrun", "claims", "xor_bad_init", "hydra.sweep.dir=killed"]
    process = subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 200
    while not (tmp_path / "killed/plan.json").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = forked("resume", "killed", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    tables = []
    for name in ("whole", "killed"):
        rows = list(csv.DictReader((tmp_path / name / "claims.csv").read_text().splitlines()))
        tables.append([{key: value for key, value in row.items() if key != "seconds"} for row in rows])
    assert tables[0] == tables[1] and tables[0][0]["verdict"].startswith("reproduced")
    again = forked("claims", "xor_bad_init", "hydra.sweep.dir=whole", folder=tmp_path)
    assert "runs are there already" in again.stdout and again.returncode == 0


def test_without_a_larger_recipe_a_claim_stays_at_its_scale() -> None:
    assert load("hessian_index", large=True).scale == "small"
    assert load("transfer").scale == "small" and load("transfer", large=True).scale == "lecture"


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"column": "val_loss", "bellow": 1}, "there is no key bellow of a measure by column"),
        ({"column": "val_loss", "at": "lst"}, "at=lst: must be last, first, min, max, mean or a step"),
        ({"at": "last"}, "a measure has one of"),
    ],
)
def test_what_is_no_measure_is_refused(keys: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        Measure.parse("x", keys)


def test_a_share_of_other_numbers_than_0_and_1_is_none() -> None:
    criterion = Criterion.parse("share", {"of": "x", "in": "a", "above": 0.1})
    answer = criterion.answer({"a": {0: 0.5, 1: 1.0}}, 0.95)
    assert answer.holds is None and "0 or 1" in answer.problem


def test_a_damaged_table_costs_a_verdict_and_no_more(tmp_path: Path) -> None:
    losses = {"a": 9.0, "b": 1.0}
    folders = {
        s: {i: run(tmp_path / f"{s}-{i}", [x + 0.1 * i * (s == "a")]) for i in range(3)} for s, x in losses.items()
    }
    for place in folders["a"].values():
        (place / "activations.csv").write_text("epoch,step,layer,quantity\n0,0,1,std\n")
    claim = stated(tmp_path, measures={"loss": Measure("loss", {"table": "activations"})})
    verdict = judge(claim, folders, 0.95)
    assert verdict.word == NONE and "loss cannot be measured" in verdict.problem


def test_a_picture_that_cannot_be_drawn_costs_no_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trainer = Trainer(tmp_path, {"a": lambda seed: 9 + 0.1 * seed, "b": lambda seed: 1 + 0.3 * seed})
    claim = stated(tmp_path, pictures=["a/activations", "a/curves"])
    rounds([claim], 0, tmp_path, trainer)
    for place in kept(tmp_path, claim)["a"].values():
        (place / "activations.csv").write_text("epoch,step,layer,quantity,value\n0,0,1,std,x\n")
    assert conclude(tmp_path, [claim], {})
    assert "the picture a/activations cannot be drawn" in capsys.readouterr().err
    assert (tmp_path / "index.html").exists() and "claim.png" in (tmp_path / "index.html").read_text()


def test_the_date_is_that_of_the_runs_and_texts_of_strangers_are_no_formulas(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path, {"a": lambda seed: 9 + 0.1 * seed, "b": lambda seed: 1 + 0.3 * seed})
    claim = stated(tmp_path)
    rounds([claim], 0, tmp_path, trainer)
    for runs in kept(tmp_path, claim).values():
        for place in runs.values():
            summary = json.loads((place / "summary.json").read_text())
            (place / "summary.json").write_text(json.dumps({**summary, "started": "2020-02-03T04:05:06+00:00"}))
    conclude(tmp_path, [claim, stated(tmp_path, name="other")], {"other": "=HYPERLINK(1)"})
    [row, other] = csv.DictReader((tmp_path / "claims.csv").read_text().splitlines())
    assert row["date"] == "2020-02-03" and other["problem"] == "'=HYPERLINK(1)"
