"""conf/schema.json says of every value what the check says, and knows every file of conf/."""

from __future__ import annotations

import json
import sys
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from conftest import config
from jsonschema import Draft7Validator
from omegaconf import OmegaConf

from dlrun.config.catalogue import choices, conf_dir, constraints, groups
from dlrun.training.build import plain

sys.path.insert(0, str(Path(__file__).parent.parent / "scripts"))

import schema

import docs

FILE = json.loads((conf_dir() / "schema.json").read_text(encoding="utf-8"))
VALIDATOR = Draft7Validator(FILE)
#: of every kind, and on both sides of the bounds that conf/ has; no whole floats, which are integers in JSON
PROBES: list[Any] = [
    None, True, False, "auto", "full", "relu", "5min", "0min", "min", "adam", "", "none", -1, 0, 1, 2, 3, 7, 20,
    21, 100, -1.5, -0.5, 0.5, 0.999, 1.5, 1e-9, 2.5, [], [1], [0], [-1], [1.5], ["a"], [None], [[1.5], [2]], [1, "a"],
    {}, {"a": 1},
]  # fmt: skip


def problems(content: Any) -> list[str]:
    return [str(each.message) for each in VALIDATOR.iter_errors(content)]


def test_it_is_up_to_date_and_a_schema() -> None:
    assert docs.outdated_schema() == [], "run python scripts/docs.py"
    Draft7Validator.check_schema(FILE)


def test_every_constraint_allows_what_the_check_allows() -> None:
    files = [
        conf_dir() / "dlrun.yaml",
        *(conf_dir() / group / f"{name}.yaml" for group in groups() for name in choices(group)),
    ]
    known = {each.text: each for each in chain(*(constraints(file).values() for file in files)) if each}
    assert len(known) > 50
    for text, constraint in known.items():
        validator = Draft7Validator(schema.value_schema(constraint) | {"definitions": FILE["definitions"]})
        for probe in PROBES:
            assert validator.is_valid(probe) == constraint.allows(probe), (text, probe)
        assert validator.is_valid("${seed}") and validator.is_valid("???")


def test_every_file_of_the_registry_is_one() -> None:
    for group in [*groups(), "experiment"]:
        for name in choices(group):
            content = OmegaConf.to_container(OmegaConf.load(conf_dir() / group / f"{name}.yaml"))
            assert problems(content) == [], (group, name)


@pytest.mark.parametrize(
    "content, wrong",
    [
        ({"seed": 1, "optimizer": {"_target_": "dlrun.optimizers.adam.Adam", "beta1": 0.5}}, ""),
        ({"optimizer": {"_target_": "mine.Rule", "zeta": 1}, "allow_targets": ["mine"]}, ""),
        ({"optimizer": {"momentum": 0.5}, "lr": "${optimizer.momentum}"}, ""),  # an experiment's part
        ({"epochs": "ten"}, "'ten' is not valid"),
        ({"epoch": 3}, "3 is not of type 'object'"),
        ({"optimizer": "adam"}, "'adam' is not of type 'object'"),
        ({"optimizer": {"_target_": "dlrun.optimizers.adam.Adam", "momentum": 0.5}}, "'momentum' was unexpected"),
        ({"optimizer": {"beta1": 2}}, "2 is not valid"),
        ({"regularizer": {"dropout": {"p_input": 1.5}}}, "1.5 is not valid"),
        ({"plot": {"format": "gif"}}, "'gif' is not valid"),
        ({"_target_": "dlrun.optimizers.adam.Adam", "beta1": 2}, "2 is not valid"),  # a choice's own file
        ({"_target_": "dlrun.initializers.drawn.He", "bias": "prior"}, ""),
    ],
)
def test_what_editors_mark(content: Any, wrong: str) -> None:
    found = problems(content)
    assert (wrong in " ".join(found)) if wrong else found == []


def test_the_config_of_a_run_is_one() -> None:
    words = ["dataset=iris", "regularizer=[l2,dropout]", "diagnostics=[weights]", "schedule=cosine"]
    assert problems(plain(config(*words))) == []
