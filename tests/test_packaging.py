"""The pins fit the ranges that pyproject.toml states, and CONTRIBUTING.md's example works as printed."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import dlrun
from dlrun.config.catalogue import constraints
from dlrun.optimizers.rule import Rule

ROOT = Path(__file__).parent.parent


def test_every_dependency_has_a_pin_within_its_range():
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 cannot read TOML")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    wanted = [Requirement(line) for lines in (project["dependencies"], *extras) for line in lines]
    pins = re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    pinned = {canonicalize_name(name): version for name, version in pins}
    for requirement in wanted:
        if requirement.name != "dlrun":
            assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)]), requirement


def test_one_version_stands_everywhere_with_its_day():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    newest = re.search(r"^## (?!Unreleased)(\S+) - (\S+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest and newest.groups() == (dlrun.__version__, str(cited["date-released"]))
    assert cited["version"] == dlrun.__version__


def test_constraints_hold_exact_public_versions_only():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert [line for line in lines if not re.fullmatch(r"#.*|[\w.-]+==[\w.]+", line)] == []


@pytest.fixture
def example():
    """The rule's class and the YAML text of CONTRIBUTING.md's section on adding an optimizer."""
    section = (ROOT / "CONTRIBUTING.md").read_text().split("## Add an optimizer")[1]
    blocks = dict(re.findall(r"^`(\S+)`:\n```\w+\n(.*?)```", section, re.MULTILINE | re.DOTALL))
    namespace: dict[str, object] = {}
    exec(compile(blocks["dlrun/optimizers/adabelief.py"], "adabelief.py", "exec"), namespace)
    return namespace["AdaBelief"], blocks["conf/optimizer/adabelief.yaml"]


def test_the_example_in_contributing_is_the_papers_algorithm(example):
    rule_class, text = example
    values = yaml.safe_load(text)
    assert values.pop("_target_") == "dlrun.optimizers.adabelief.AdaBelief"
    rule: Rule = rule_class()
    gradients = torch.randn(30, 3, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    theta = torch.zeros(3, 7, dtype=torch.float64)
    state = rule.init(theta)
    lr, beta1, beta2, eps = (values[name] for name in ("lr", "beta1", "beta2", "eps"))
    expected, m, s = np.zeros((3, 7)), np.zeros((3, 7)), np.zeros((3, 7))
    for t, g in enumerate(gradients, start=1):
        rule.update(
            theta, g, state, **{name: torch.full((3, 1), value, dtype=torch.float64) for name, value in values.items()}
        )
        m = beta1 * m + (1 - beta1) * g.numpy()
        s = beta2 * s + (1 - beta2) * (g.numpy() - m) ** 2 + eps
        expected -= lr * (m / (1 - beta1**t)) / (np.sqrt(s / (1 - beta2**t)) + eps)
    np.testing.assert_allclose(theta, expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(state["m"], m, rtol=0, atol=1e-12)
    np.testing.assert_allclose(state["s"], s, rtol=0, atol=1e-12)


def test_the_examples_yaml_declares_what_the_rule_takes(example, tmp_path):
    rule_class, text = example
    file = tmp_path / "adabelief.yaml"
    file.write_text(text)
    declared = constraints(file)
    assert all(declared.values())
    keywords = {p.name for p in inspect.signature(rule_class.update).parameters.values() if p.kind is p.KEYWORD_ONLY}
    assert {path[0] for path in declared} == keywords
    assert not declared["beta1",].allows(2)
