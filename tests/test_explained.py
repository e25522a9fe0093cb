"""`dlrun list optimizer/adam`: the docstring as it stands, formulas in letters, every key with its default."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys

import pytest
from hydra.utils import get_object
from test_loading import command

from dlrun.config.catalogue import choices, conf_dir, constraints, groups, targets
from dlrun.config.explained import docstring, explained
from dlrun.terminal.formulas import plain, readable

CHOICES = [(group, name) for group in groups() for name in choices(group)]


@pytest.mark.parametrize(
    "latex, letters",
    [
        (r"\theta \leftarrow \theta - \text{lr}\; \hat s / (\sqrt{\hat r} + \epsilon)", "θ ← θ - lr ŝ / (√r̂ + ε)"),
        (r"\beta_2^t r_{t-1}^2 x_{best} W_{r,z}", "β₂ᵗ rₜ₋₁² x_best W_(r,z)"),
        (
            r"\frac{a + b}{c} + \tfrac12 + \frac1n \sum_i \left\| g_i - \bar g \right\|^2",
            "(a + b)/c + 1/2 + 1/n Σᵢ ‖ gᵢ - ḡ ‖²",
        ),
        (r"e^{-x^2 / 2} \max(0, 1 - t f) \cos t, \log\text{softmax}", "e^(-x² / 2) max(0, 1 - t f) cos t, log softmax"),
        (r"s^\top y, \quad U \Lambda^{-1/2} U^\top = I", "sᵀ y, U Λ^(-1/2) Uᵀ = I"),
        (r"\begin{pmatrix} a & b \\ c & d \end{pmatrix}", "( a , b ; c , d )"),
        (
            r"x \in \{0, 1\}, x \sim \mathcal{N}(0, \sigma^2), \bigl\lfloor x \bigr\rfloor",
            "x ∈ {0, 1}, x ~ N(0, σ²), ⌊ x ⌋",
        ),
    ],
)
def test_formulas_in_letters(latex: str, letters: str) -> None:
    assert plain(latex) == letters


def test_no_formula_of_the_registry_keeps_a_command() -> None:
    for group, name in CHOICES:
        told = explained(group, name)
        text = "\n".join(map(readable, [*told.paragraphs, *told.meanings.values(), told.reference]))
        assert "\\" not in text and "$" not in re.sub("`[^`]*`", "", text) and "\0" not in text, (group, name)
        latex = "".join(re.findall(r"\$(.+?)\$", "".join(told.paragraphs), re.DOTALL))
        assert ("\\leftarrow" in latex) == ("←" in text), (group, name)


def test_docstrings_are_read_as_python_reads_them() -> None:
    for group, name in CHOICES:
        for target in targets(conf_dir() / group / f"{name}.yaml"):
            assert docstring(target) == inspect.cleandoc(get_object(target).__doc__ or ""), target


def test_a_choice_is_shown_with_formula_keys_and_papers_without_torch() -> None:
    code = "import sys; sys.modules['torch'] = None; from dlrun.command.cli import main; main()"
    command = [sys.executable, "-c", code, "list", "optimizer/adam", "schedule=cosine"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert lines[0] == "optimizer=adam" and "schedule=cosine" in lines
    assert "    r ← β₂ r + (1-β₂) g²" in lines and "    lr (m + (1 - m) (1 + cos(π t / total)) / 2)" in lines
    assert any(
        re.fullmatch(r"  optimizer.beta2=0.999 +in \[0, 1\); decay of the second moment", line) for line in lines
    )
    assert any(re.match(r"  schedule.warmup=0 +>= 0 or text; linear rise", line) for line in lines)
    assert any(line.startswith("Reference: Kingma & Ba 2015, arXiv:1412.6980") for line in lines)


def test_choices_show_all_their_keys(capfd: pytest.CaptureFixture[str]) -> None:
    some = CHOICES[::8]
    assert command("list", *(f"{group}/{name}" for group, name in some)) == 0
    shown = re.split(r"^(?=\w+=\w+\n)", capfd.readouterr().out, flags=re.MULTILINE)[1:]
    assert len(shown) == len(some)
    for (group, name), text in zip(some, shown, strict=True):
        for path in constraints(conf_dir() / group / f"{name}.yaml"):
            assert f"\n  {'.'.join((group, *path))}=" in text, (group, name, path)


@pytest.mark.parametrize(
    "word, message",
    [("optimizer/adm", "there is no such choice; did you mean adam?"), ("optimiser/adam", "did you mean optimizer?")],
)
def test_what_is_not_there_is_told(word: str, message: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert command("list", word) == 2
    assert message in capfd.readouterr().err
