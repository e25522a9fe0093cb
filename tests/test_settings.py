"""Which runs are of one setting: by their whole configs and data, whatever is typed and whatever their seeds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from dlrun.folder.records import yaml_text
from dlrun.report.settings import told_apart

BASE: dict[str, Any] = {
    "lr": 0.1,
    "name": "x",
    "plots": "auto",
    "dataset": {"split_seed": 0, "path": "a.csv"},
    "optimizer": {"_target_": "dlrun.optimizers.adam.Adam", "beta1": 0.9},
}


class Sweep:
    """Folders of runs, and the table that a report begins with: run, typed, seed, status."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.rows, self.runs = folder, list[dict[str, Any]](), dict[str, Path]()

    def add(
        self, raw: dict[str, str] | None = None, data: str | None = "d1", choice: str = "adam", **config: Any
    ) -> None:
        name = str(len(self.rows))
        folder = self.runs[name] = self.folder / name
        (folder / ".hydra").mkdir(parents=True)
        seed = len(self.rows)
        nested = yaml.safe_load(yaml_text(BASE)) | {"seed": seed, "name": f"run {seed}"}
        for key, value in config.items():
            group, _, own = key.partition("__")
            nested[group] = {**nested[group], own: value} if own else value
        (folder / "config.yaml").write_text(f"# Repeats this run: {folder}\n{yaml_text(nested)}")
        for key, value in (raw or {}).items():
            group, _, own = key.partition(".")
            nested[group] = {**nested[group], own: value} if own else value
        (folder / ".hydra" / "config.yaml").write_text(yaml.dump(nested))
        (folder / ".hydra" / "hydra.yaml").write_text(f"hydra: {{runtime: {{choices: {{optimizer: {choice}}}}}}}")
        (folder / "summary.json").write_text(json.dumps({"status": "finished"} | ({"data": data} if data else {})))
        self.rows.append({"run": name, "epochs": 3, "seed": seed, "status": "finished"})

    def apart(self) -> tuple[dict[str, list[Any]], str]:
        """The further columns, and the notes."""
        table, notes = told_apart(pd.DataFrame(self.rows), [], self.runs)
        added = {key: table[key].tolist() for key in table if key not in self.rows[0]}
        return added, " ".join(notes)


def test_runs_of_one_config_are_one_setting(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path)
    for plots in ("auto", "none", "all"):
        sweep.add(plots=plots, checkpoint_every=len(plots))
    assert sweep.apart() == ({}, "")


def test_configs_that_differ_in_what_nobody_typed_are_different_settings_whatever_their_seeds(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path)
    for lr in (0.1, 0.1, 0.0001, 0.0001):
        sweep.add(lr=lr, dataset__path="a.csv" if lr == 0.1 else "b.csv")
    added, notes = sweep.apart()
    assert added == {"lr": [0.1, 0.1, 0.0001, 0.0001], "dataset.path": ["a.csv"] * 2 + ["b.csv"] * 2}
    assert "these runs' configs differ in lr, dataset.path: they are different settings, whatever their seeds" in notes


def test_changed_data_make_different_settings(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path)
    for data in ("aaaaaaaaa", "aaaaaaaaa", "bbbbbbbbb", None):  # the last died before it had read them
        sweep.add(data=data)
    added, notes = sweep.apart()
    assert added == {"data": ["aaaaaaaa…", "aaaaaaaa…", "bbbbbbbb…", "aaaaaaaa…"]}
    assert "not trained on the same data" in notes


def test_what_follows_the_seed_is_part_of_the_repetition(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path)
    for seed in range(3):
        sweep.add(dataset__split_seed=seed, raw={"dataset.split_seed": "${seed}"})
    assert sweep.apart() == ({}, "")
    sweep.add(dataset__split_seed=9)
    assert list(sweep.apart()[0]) == ["dataset.split_seed"]


def test_data_that_are_drawn_by_the_seed_are_part_of_the_repetition(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path)
    for seed in range(3):
        sweep.add(data=f"d{seed}", dataset__seed=seed, raw={"dataset.seed": "${seed}"})
    assert sweep.apart() == ({}, "")
    sweep.add(data="other", dataset__seed=2, raw={"dataset.seed": "${seed}"})
    sweep.rows[-1]["seed"] = 2  # of which there are two samples now
    assert list(sweep.apart()[0]) == ["data"]


def test_a_split_by_the_seed_excuses_no_other_data(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path)
    for seed in range(2):
        sweep.add(data=f"d{seed}", dataset__split_seed=seed, raw={"dataset.split_seed": "${seed}"})
    assert list(sweep.apart()[0]) == ["data"]


def test_a_choice_stands_for_its_keys_unless_another_has_its_name(tmp_path: Path) -> None:
    sgd = {"optimizer___target_": "dlrun.optimizers.sgd.SGD", "optimizer__beta1": 0}
    sweep = Sweep(tmp_path / "named")
    sweep.add()
    sweep.add(**sgd, choice="sgd")
    assert sweep.apart()[0] == {"optimizer": ["adam", "sgd"]}
    sweep = Sweep(tmp_path / "same name")
    sweep.add(choice="mine")
    sweep.add(**sgd, choice="mine")
    assert sweep.apart()[0] == {"optimizer._target_": ["dlrun.optimizers.adam.Adam", "dlrun.optimizers.sgd.SGD"]} | {
        "optimizer.beta1": [0.9, 0]
    }


def test_a_run_that_died_before_it_had_a_config_stays_where_it_was(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path)
    sweep.add()
    sweep.add(data=None)
    (tmp_path / "1" / "config.yaml").unlink()
    assert sweep.apart() == ({}, "")
