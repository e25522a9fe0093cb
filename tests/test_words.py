"""A newcomer's words, spellings and habits lead to the key that is meant, in one message."""

from __future__ import annotations

import pytest

from dlrun.command.arguments import arranged
from dlrun.command.verbs import VERBS
from dlrun.config.catalogue import Constraint, choices, groups
from dlrun.config.words import SYNONYMS, _places, did_you_mean, known_keys, lead
from dlrun.errors import ConfigError

KEYS = {
    "momentum=0.9": "optimizer=momentum optimizer.momentum=0.9",
    "dropout=0.5": "regularizer=dropout is a choice, with regularizer.dropout.p_input and regularizer.dropout.p_hidden",
    "hidden=[64]": "did you mean architecture.hidden=[64]?",
    "layers=3": "did you mean architecture.hidden, list of int >= 1",
    "model=cnn": "did you mean architecture=cnn?",
    "weight_decay=1e-4": "optimizer=adamw optimizer.weight_decay=1e-4; regularizer=weight_decay is a choice, with",
    "learning_rate=0.1": "did you mean lr=0.1?",
    "activation=relu": "did you mean architecture.activation=relu?",
    "target=price": "dataset=table dataset.target=price",
    "batch=32": "did you mean batch_size=32?",
    "batch-size=32": "did you mean batch_size=32?",
    "optim=adam": "did you mean optimizer=adam?",
    "scheduler=cosine": "did you mean schedule=cosine?",
    "data=MNIST": "did you mean dataset=mnist?",
    "epoch=3": "did you mean epochs=3?",
    "Optimizer=Adam": "did you mean optimizer=adam?",
    "gpu=0": "did you mean device, auto or text (cpu, cuda",
    "model.hidden=[3]": "did you mean architecture.hidden=[3]?",
    "optimzer.beta1=0.5": "did you mean optimizer.beta1=0.5?",
    "train.epochs=3": "did you mean epochs=3?",
    "regularizer.p_hidden=0.3": "regularizer=dropout regularizer.dropout.p_hidden=0.3",
    "regularizer.dropout.p=0.3": "regularizer=dropout is a choice",
    "gamma=0.5": "schedule.gamma is a key of schedule=exponential, multistep, step",
    "nesterov=true": "optimizer=nesterov is a choice",
    "out=here": "did you mean hydra.run.dir=here?",
    "save_every=5": "did you mean checkpoint_every=5?",
    "betas=[0.9,0.99]": "did you mean optimizer.beta1, in [0, 1)",
    "csv=houses.csv": "dataset=table is a choice",
    "bn=true": "did you mean normalization, one of batch, group",
    "cpu=true": "did you mean device, auto or text (cpu, cuda",
}


@pytest.mark.parametrize("typed", KEYS)
def test_a_word_leads_to_its_key(typed: str) -> None:
    key, _, value = typed.partition("=")
    assert KEYS[typed] in lead(key, value, known_keys([]))


def test_what_is_chosen_decides_which_key_is_meant() -> None:
    for chosen in (["optimizer=nesterov"], ["optimizer=sgd,momentum", "seed=3"]):
        assert lead("momentum", "0.5", known_keys(chosen)) == "; did you mean optimizer.momentum=0.5?"
    in_list = known_keys(["regularizer=[l2,dropout]"])
    assert "did you mean regularizer.dropout.p_hidden=0.3?" in lead("p_hidden", "0.3", in_list)
    assert "did you mean regularizer.dropout.p_hidden, in [0, 1)" in lead("p_hidden", "1", in_list)
    assert lead("qqq", "1", known_keys([])) == ""


def test_keys_of_other_sweepers_lead_to_these() -> None:
    optuna: dict[str, Constraint | None] = {f"hydra.sweeper.{key}": None for key in ("n_trials", "n_jobs", "sampler")}
    wanted = {
        "keep packed": "; hydra.sweeper.keep is a key of hydra/sweeper=dlrun, optuna",
        "samples 8": "; hydra.sweeper.samples is a key of hydra/sweeper=dlrun; did you mean hydra.sweeper.n_trials=8?",
        "max_time 8": "; hydra.sweeper.max_time is a key of hydra/sweeper=dlrun, optuna",
        "n_trails 8": "; did you mean hydra.sweeper.n_trials=8?",
        "qqq 8": "",
    }
    for typed, told in wanted.items():
        key, value = typed.split()
        assert lead(f"hydra.sweeper.{key}", value, optuna) == told, typed
    assert lead("keep", "packed", known_keys([])) == "; did you mean hydra.sweeper.keep=packed?"
    stack: dict[str, Constraint | None] = {"hydra.launcher.workers": None}
    assert lead("hydra.launcher.n_jobs", "2", stack) == "; did you mean hydra.launcher.workers=2?"


def test_synonyms_name_what_there_is_and_hide_no_key() -> None:
    names = {place.name for place in _places()}
    assert {key for key in SYNONYMS.values() if "." not in key} <= names | {c for g in groups() for c in choices(g)}
    assert not names & SYNONYMS.keys()


def test_did_you_mean() -> None:
    assert did_you_mean("adm", ["sgd", "adam", "adamw"]) == "; did you mean adam?"
    assert did_you_mean("MNIST", ["digits", "mnist"]) == "; did you mean mnist?"
    assert did_you_mean("xyz", ["sgd", "adam"]) == ""


HABITS = {
    "epochs 3": "epochs 3: key and value are one word: epochs=3",
    "lr = 0.1": "lr = 0.1: key and value are one word: lr=0.1",
    "lr= 0.1": "lr= 0.1: key and value are one word: lr=0.1",
    "lr =0.1": "lr =0.1: key and value are one word: lr=0.1",
    "dataset=iris epochs 3 lr=1": "epochs 3: key and value are one word: epochs=3",
    "learning_rate 0.1": "there is no such key; did you mean lr=0.1?",
    "optimizer = adam": "optimizer=adam",
    "architecture.hidden=[64, 64]": "architecture.hidden=[64, 64]: a value with blanks in it stands in quotes: "
    "'architecture.hidden=[64,64]'",
    "epochs": "epochs: key and value are one word: epochs=...",
    "optimizer": "optimizer: key and value are one word: optimizer=...; `dlrun list optimizer` has its choices",
    "mnist": "mnist is a choice: dataset=mnist",
    "train": "train: there is no such verb; there are claims, completion, diagnose, ",
    "lst optimizer": "lst: there is no such verb; did you mean list?",
    "--epochs 3": "--epochs 3: keys have no dashes before them: epochs=3",
    "--lr=0.1": "--lr=0.1: keys have no dashes before them: lr=0.1",
    "-lr 0.1": "-lr 0.1: keys have no dashes before them: lr=0.1",
    "--batch-size 32": "keys have no dashes before them: batch_size=32",
    "--learning-rate=1": "keys have no dashes before them; did you mean lr=1?",
    "--config_dir x": "--config_dir x: there is no such option; did you mean --config-dir?",
    "--frobnicate": "--frobnicate: there is no such option; `dlrun --hydra-help` has all options",
    "-m --cfg job": "-m --cfg: give one of them",
    "lr=1,2 -m --info": "-m --info: give one of them",
    "--cfg jobs": "invalid choice: 'jobs'",
    "--config-dir": "expected one argument",
    "--resolve": "--resolve goes with --cfg",
    "-sc": "dlrun completion bash",
    "-sc query=bash": "dlrun completion bash",
    "-sc install=cmd": "or zsh, or fish",
    "name=\udcff": "name=\ufffd: dlrun writes down what it is told, in UTF-8",
}


@pytest.mark.parametrize("typed", HABITS)
def test_habits_of_other_programs_are_told_of(typed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COMP_LINE", raising=False)
    with pytest.raises(ConfigError) as told:
        arranged(typed.split(" "), list(VERBS))
    assert HABITS[typed] in str(told.value) and "\n" not in str(told.value)
    str(told.value).encode()


def test_options_may_stand_anywhere() -> None:
    typed = ["lr=1", "-m", "seed=1,2", "--config-dir", "a b", "~zip", "--config-name=x", "+c="]
    assert arranged(typed, []) == ["-m", "--config-dir=a b", "--config-name=x", "lr=1", "seed=1,2", "~zip", "+c="]
    assert arranged(["--info", "lr=1"], []) == ["--info=all", "lr=1"]
    assert arranged(["--config-d", "x", "--multi", "lr=1,2"], []) == ["--config-dir=x", "--multirun", "lr=1,2"]
    assert arranged(["-i", "plugins", "lr=1"], []) == ["-i=plugins", "lr=1"]
