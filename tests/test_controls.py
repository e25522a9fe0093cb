"""Negative controls: fed with wrong settings, no claim is reproduced; and the verdicts that the gate asks for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dlrun.claims.claim import load, names

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

import controls  # noqa: E402
import verdicts  # noqa: E402

#: seconds together: exact claims, and a statistical one
CHEAP = ["backprop_example", "symmetry_breaking", "whitening"]


def test_every_claim_has_a_control_and_none_of_them_was_reproduced() -> None:
    """As docs/controls.csv tells of the last time that all were trained."""
    fed = controls.controls()
    assert sorted({each.of for each in fed}) == names()
    rows = controls.read(controls.FOUND)
    assert sorted((row["claim"], row["wrong"]) for row in rows) == sorted((each.of, each.wrong) for each in fed)
    assert all(controls.refused(row["verdict"]) for row in rows)
    assert controls.PAGE.read_text(encoding="utf-8") == controls.page(rows), "run python scripts/controls.py --docs"


@pytest.mark.parametrize("control", controls.controls(), ids=lambda control: control.claim.name)
def test_a_control_feeds_what_it_says_and_changes_no_criterion(control: controls.Control) -> None:
    claim = load(control.of)
    assert control.claim.settings.keys() == claim.settings.keys() and control.claim.settings != claim.settings
    assert control.claim.criteria == claim.criteria and control.claim.looks == claim.looks
    assert list(control.claim.stages())


def test_overrides_take_the_place_of_those_of_their_key_and_of_their_group() -> None:
    words = ["optimizer=sgd", "optimizer.momentum=0.5", "lr=1", "regularizer=[l2]", "architecture.hidden=[2]"]
    assert controls.replaced(words, ["optimizer=adam", "lr=2"]) == [*words[3:], "optimizer=adam", "lr=2"]
    assert controls.replaced(words, ["optimizer.momentum=0"]) == [words[0], *words[2:], "optimizer.momentum=0"]


def test_labels_are_exchanged() -> None:
    claim = load("xavier_vs_naive")
    fed = controls.fed(claim, {"xavier": "=naive", "naive": "=xavier"}, "exchanged").settings
    assert (fed["xavier"], fed["naive"]) == (claim.settings["naive"], claim.settings["xavier"])


@pytest.mark.slow
def test_fed_wrongly_no_claim_is_reproduced(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "scripts" / "controls.py"), str(tmp_path / "controls"), *CHEAP]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("changed", [None, "clipping"])
def test_the_gate_fails_where_a_verdict_is_another(
    changed: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = verdicts.verdicts(verdicts.DOCS / "claims.csv")
    assert {"backprop_example", "clipping", "whitening"} <= {*verdicts.exact()} <= told.keys()

    def claims(command: list[str], **options: object) -> None:
        found = {name: "inconclusive" if name == changed else told[name] for name in command if name in told}
        (tmp_path / "claims.csv").write_text("\n".join(["claim,verdict", *map(",".join, found.items())]))

    monkeypatch.setattr(verdicts.subprocess, "run", claims)
    monkeypatch.setattr(sys, "argv", ["verdicts.py", str(tmp_path)])
    assert verdicts.main() == int(bool(changed))
    assert capsys.readouterr().err == (
        "clipping: inconclusive, and docs/claims.csv says reproduced\n" if changed else ""
    )
