"""docs/ says what conf/ and the docstrings say, in Markdown that GitHub renders, with commands that pass the check."""

from __future__ import annotations

import csv
import json
import re
import shlex
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from markdown_it import MarkdownIt

from dlrun.config.catalogue import Constraint, choices, conf_dir, constraints, groups
from dlrun.config.check import check
from dlrun.errors import ConfigError

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

import gpu  # noqa: E402
import lectures  # noqa: E402
from doc_examples import typed, values  # noqa: E402

import docs  # noqa: E402

TEXTS = {file.name: file.read_text(encoding="utf-8") for file in sorted((ROOT / "docs").glob("*.md"))}
PAGES = {name: text for name, text in TEXTS.items() if text.startswith(docs.NOTE)}  # not those written by hand
PARSER = OverridesParser.create()
CHOICES = [(group, name) for group in groups() for name in choices(group)]


def section(group: str, name: str) -> str:
    """A choice's part of its group's page."""
    return re.split(r"^## ", PAGES[f"{group}.md"].partition(f"\n## {name}\n")[2], flags=re.MULTILINE)[0]


def test_pages_are_up_to_date(tmp_path, monkeypatch, capsys):
    assert docs.outdated(ROOT / "docs") == [], "run python scripts/docs.py"
    monkeypatch.setattr(docs, "DOCS", tmp_path / "docs")
    monkeypatch.setattr(docs, "SCHEMA", tmp_path / "schema.json")
    assert docs.main(["--check"]) == 1
    assert docs.main([]) == 0 and docs.main(["--check"]) == 0
    page = tmp_path / "docs" / "optimizer.md"
    page.write_text(page.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    assert docs.main(["--check"]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "not up to date: optimizer.md; run python scripts/docs.py"


@pytest.mark.parametrize("group", groups())
def test_every_choice_has_its_line_and_its_keys(group):
    for name in choices(group):
        assert f"[{name}]({group}.md#{name})" in PAGES["choices.md"]
        for path, constraint in constraints(conf_dir() / group / f"{name}.yaml").items():
            start = f"| `{'.'.join((group, *path))}` | `"
            (row,) = (line for line in section(group, name).splitlines() if line.startswith(start))
            assert f"` | `{constraint.text}` | " in row


@pytest.mark.slow
def test_commands_pass_the_check():
    """Every choice's run, and the jobs of its sweep; commands that share no key are composed together, to save time."""
    rounds: list[list[str]] = []
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        hydra = compose("dlrun", ["name=test"], return_hydra_config=True).hydra
        for group, name in CHOICES:
            run, sweep = section(group, name).partition("```sh\n")[2].partition("\n```")[0].splitlines()
            program, *words = shlex.split(run)
            sweeper, flag, *swept = shlex.split(sweep)
            assert (program, sweeper, flag) == ("dlrun", "dlrun", "-m")
            *_, over = PARSER.parse_overrides(swept)
            jobs = [[*swept[:-1], f"{over.key_or_group}={value}"] for value in over.sweep_string_iterator()]
            assert len(jobs) > 1 and set(swept[:-1]) <= set(words) and swept[-1] not in words
            said = {**constraints(conf_dir() / "dlrun.yaml"), **constraints(conf_dir() / group / f"{name}.yaml")}
            for override in PARSER.parse_overrides([*words[1:], *(job[-1] for job in jobs)]):
                path = tuple(override.key_or_group.split("."))
                constraint = said.get(path[1:]) or said.get(path)
                assert constraint is None or constraint.allows(override.value()), override.input_line
            free = next((words for words in rounds if not touched(words) & touched(jobs[-1])), None)
            if free is None:
                rounds.append(free := [])
            free += jobs[-1]
        for words in rounds:
            try:
                check(compose("dlrun", [*words, "name=test"]), hydra)
            except ConfigError as problem:  # mlflow and wandb are no part of what developers install
                told = [line for line in str(problem).splitlines() if "a package that is not installed" not in line]
                assert not told, problem


def touched(words: list[str]) -> set[str]:
    return {re.split("[.=]", word)[0] for word in words}


def test_keys_of_every_run_and_of_whole_groups():
    for path, constraint in constraints(conf_dir() / "dlrun.yaml").items():
        page = f"{path[0]}.md" if path[0] in groups() else "run.md"
        assert f"| `{'.'.join(path)}` |" in PAGES[page].partition("\n## ")[0] and f"`{constraint.text}`" in PAGES[page]


@pytest.mark.parametrize("page", PAGES)
def test_markdown(page):
    """No raw HTML but the note, no lost dollar, no formula that needs what Markdown would take from it."""
    tokens = MarkdownIt("commonmark").enable("table").parse(PAGES[page])
    assert [token.content for token in tokens if token.type == "html_block"] == [f"{docs.NOTE}\n"]
    assert {token.info for token in tokens if token.type == "fence"} <= {"math", "sh"}
    formulas = [token.content for token in tokens if token.info == "math"]
    for token in tokens:
        parts = token.children or []
        assert not {part.type for part in parts} & {"html_inline", "em", "strong"}, token.content
        for before, part, after in zip(parts, parts[1:], parts[2:], strict=False):
            if part.type == "code_inline" and before.content.endswith("$"):
                assert after.content.startswith("$"), token.content
                formulas.append(part.content)
    lone = sum(part.content.count("$") for token in tokens for part in token.children or [] if part.type == "text")
    assert lone == 2 * sum(len(re.findall(r"\$`.+?`\$", token.content)) for token in tokens if token.type == "inline")
    for formula in formulas:
        assert formula.count("{") == formula.count("}") and "$" not in formula and r"\_" not in formula, formula


def test_prose():
    said = docs.prose("a $b_1 < c*$\nof `x*` <y>* (doi:10.1/a(64)b-5), arXiv:1412.6980.")
    assert said == (
        r"a $`b_1 < c*`$ of `x*` \<y>\* ([doi:10.1/a(64)b-5](<https://doi.org/10.1/a(64)b-5>)), "
        "[arXiv:1412.6980](https://arxiv.org/abs/1412.6980)."
    )
    assert docs.formulas("so $$a\nb$$\nwith $c$") == "so\n\n```math\na b\n```\n\nwith $`c`$"


@pytest.mark.parametrize(
    ("default", "text", "expected"),
    [
        (0.001, "> 0", "0.0001 0.001 0.01"),
        (1e-8, "> 0", "1e-9 1e-8 1e-7"),
        (0.99, "in [0, 1)", "0.9 0.99 0.999"),
        (0.2, "in [0, 1)", "0.1 0.2 0.4"),
        (0, ">= 0", "0 0.1"),
        (50, "int >= 1", "50 100 200"),
        ([128, 64], "list of int >= 1", "[64,32] [128,64]"),
        ([0.0], "list of numbers", "[0]"),
        (True, "bool", "true false"),
        (None, "null or > 0", "null"),
        ("auto", "auto or a or b or c", "auto a b"),
    ],
)
def test_values_of_a_sweep(default, text, expected):
    assert " ".join(map(typed, values(default, Constraint.parse(f"{text}; meaning")))) == expected


def test_the_walk_through_the_lectures_has_every_claim_once_and_the_numbers_of_the_table() -> None:
    with lectures.TABLE.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    text = lectures.PAGE.read_text(encoding="utf-8")
    assert text == lectures.page(rows), "run python scripts/lectures.py"
    told = [row["claim"] for row in rows]
    assert set(told) <= set(choices("claims"))
    for name in choices("claims"):
        assert len(re.findall(rf"`dlrun claims {name}`", text)) == 1
    for link in re.findall(r"\]\((claims/[^)]+)\)", text):
        assert (ROOT / "docs" / link).exists()


@pytest.mark.slow
def test_the_script_for_a_gpu_runs_to_its_end_and_tells_what_it_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "NETWORKS", {"MLP": f"{gpu.MLP} architecture.hidden=[8] compile=false"})
    monkeypatch.setattr(sys, "argv", [*"gpu.py --device cpu --only same,resume --output".split(), str(tmp_path)])
    gpu.main()
    found = json.loads((tmp_path / "gpu.json").read_text())["results"]
    assert found["resume"]["rows are the same bytes"] and found["resume"]["exit code"] == 0
    assert all(each["weights are the same bytes"] for each in found["same"].values() if isinstance(each, dict))
    assert "| resume |" in (tmp_path / "gpu.md").read_text()
