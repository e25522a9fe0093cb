"""In which form pictures come, and that one which cannot be drawn costs no run its results."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from test_cli import QUICK, Ended, dlrun  # noqa: F401
from test_report import evaluations, write_run

from dlrun.folder.names import form_of, in_all_forms
from dlrun.report import collect, pictures
from dlrun.report.findings import find
from dlrun.report.report import report

BEGINNINGS = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}


@pytest.mark.parametrize("form", ["svg", *(pytest.param(form, marks=pytest.mark.slow) for form in ("png", "pdf"))])
def test_a_sweeps_pictures_are_of_the_form_that_its_runs_draw(form: str, tmp_path: Path) -> None:
    config = f"seed: 0\nplot:\n  format: {form}\n"
    for i, lr in enumerate((0.1, 0.2)):
        for j, width in enumerate((8, 16)):
            accuracy = 0.5 + i / 10 + j / 20
            folder = tmp_path / "sweep" / f"{2 * i + j}"
            write_run(folder, f"lr={lr}", f"width_={width}", config=config, accuracy=accuracy)
    report([tmp_path / "sweep"])
    found = {path.name: path.read_bytes() for path in (tmp_path / "sweep").iterdir() if path.suffix[1:] in BEGINNINGS}
    assert sorted(found) == [f"{name}.{form}" for name in ("comparison", "heatmap", "sensitivity")]
    assert all(content.startswith(BEGINNINGS[form]) for content in found.values())
    page = (tmp_path / "sweep" / "report.html").read_text()
    assert page.count("data:image/png;base64,iVBOR") == 2 and 'alt="heatmap"' in page
    report([tmp_path / "sweep"])
    assert {name: (tmp_path / "sweep" / name).read_bytes() for name in found} == found


@pytest.mark.parametrize("plot", [None, 3, {}, {"format": "exe"}, {"format": []}])
def test_a_strangers_form_is_none(plot: object) -> None:
    assert form_of({"plot": plot}) == form_of({}) == "png" and form_of({"plot": {"format": "pdf"}}) == "pdf"
    assert in_all_forms("a.png") == ["a.png", "a.svg", "a.pdf"]


@pytest.mark.parametrize("name", ["comparison.svg", "race.mp4", "activations.pdf", "heatmap.png"])
def test_what_is_no_picture_of_dlruns_is_not_overwritten(name: str, tmp_path: Path) -> None:
    assert name in pictures.NAMES
    write_run(tmp_path / "0", "lr=0.1")
    (tmp_path / name).write_text("mine")
    with pytest.raises(Exception, match=f"{name} is none of dlrun's"):
        report([tmp_path])
    assert (tmp_path / name).read_text() == "mine"


def test_plot_draws_a_run_in_its_form(dlrun: Callable[..., Ended], tmp_path: Path) -> None:  # noqa: F811
    write_run(tmp_path / "run", config="plot:\n  format: svg\n")
    assert dlrun("plot", "run").out.split() == ["run/curves.svg"]
    assert (tmp_path / "run" / "curves.svg").read_bytes().startswith(BEGINNINGS["svg"])


def broken(*_: object) -> None:
    raise ValueError("cannot\nconvert float")


def test_curves_that_cannot_be_drawn_are_told_and_the_run_is_finished(
    dlrun: Callable[..., Ended],  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dlrun.plots.curves.figure", broken)
    words = [*QUICK, "plots=auto", "hydra.run.dir=run"]
    ended = dlrun(*words)
    [line] = " ".join(ended.err.split()).split("dlrun: ")[1:]
    assert ended.code == 1 and "the run failed" not in ended.err + ended.out
    why = "cannot be drawn, it is not as it was written (ValueError: cannot convert float)"
    assert line.startswith(f"{tmp_path}/run/metrics.csv {why}; ")
    assert line.endswith(f"the run is complete, and `dlrun plot {tmp_path}/run` draws it again")
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "finished"
    assert "steps in" in ended.out and not (tmp_path / "run" / "curves.png").exists()
    before = {
        path.name: path.read_bytes()
        for path in (tmp_path / "run").glob("*.*")
        if path.is_file() and path.suffix != ".log"
    }
    assert dlrun(*words).code == 1  # and so each time, without training it again
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert dlrun("plot", "run").code == 0
    assert {name: (tmp_path / "run" / name).read_bytes() for name in before} == before


def test_curves_of_a_stack_that_cannot_be_drawn_do_not_have_it_trained_again(
    dlrun: Callable[..., Ended],  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dlrun.plots.curves.figure", broken)  # workers are forked
    ended = dlrun(
        "-m", "dataset=iris", "epochs=2", "plots=all", "seed=0,1", "hydra.sweep.dir=sweep", "hydra.launcher.workers=1"
    )
    assert "2 finished" in ended.out and " ".join(ended.err.split()).count("cannot be drawn") == 2
    for run in ("0", "1"):
        assert json.loads((tmp_path / "sweep" / run / "summary.json").read_text())["width"] == 2


def test_a_sweeps_picture_that_cannot_be_drawn_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(2):
        write_run(tmp_path / str(i), f"lr={i + 1}")
    runs = collect.find([tmp_path])
    collect.write_tables([tmp_path], tmp_path)
    found = find(collect.table(tmp_path), runs, evaluations(runs))
    monkeypatch.setattr("dlrun.plots.sensitivity.figure", lambda *_, **__: broken())
    drawn = pictures.draw(found, evaluations(runs), "sweep", runs)
    assert [*drawn.shown] == ["comparison"]
    [note] = [note for note in found.notes if "cannot be drawn" in note]
    assert note.startswith("there is no picture of ") and "ValueError" in note
