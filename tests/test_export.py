"""Exported networks compute what the run's own does, in other programs, from numbers as the source has them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fakes import files, typed  # noqa: F401
from test_cli import Ended
from test_loading import HOUSES, command, houses, table_words, trained  # noqa: F401
from torch import Tensor

import dlrun
from dlrun.command.finished import FORMATS
from dlrun.config.catalogue import choices
from dlrun.errors import ConfigError
from dlrun.loading import export
from dlrun.loading.run import LoadedRun
from dlrun.training.build import build


def computed(file: Path, rows: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
    """What another program computes with a file, and what the file tells of itself."""
    if file.suffix == ".pt2":
        extra = {"dlrun.json": ""}
        program = torch.export.load(file, extra_files=extra)
        return program.module()(torch.from_numpy(rows)).detach().numpy(), json.loads(extra["dlrun.json"])
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return session.run(None, {"rows": rows})[0], json.loads(session.get_modelmeta().custom_metadata_map["dlrun"])


def meant(run: LoadedRun, count: int) -> tuple[np.ndarray, Tensor]:
    """Raw rows of the training part, and what the network's outputs for its scaled ones mean."""
    stack = build([run.config], initialize=False)
    data = stack.dataset
    x = data.part("train")[0][:count]
    assert data.encoding is not None
    with torch.no_grad():
        outputs = run.model(x).double()
    if data.task == "binary":
        outputs = torch.cat([torch.sigmoid(-outputs), torch.sigmoid(outputs)], 1)
    elif data.task == "multiclass":
        outputs = outputs.exp() / outputs.exp().sum(1, keepdim=True)
    elif data.target_mean is not None and data.target_std is not None:
        outputs = outputs * data.target_std + data.target_mean
    return data.encoding.inputs.undone(x.numpy()).astype(np.float32), outputs


@pytest.mark.parametrize("form", ["torch", pytest.param("onnx", marks=pytest.mark.slow)])
def test_a_table_with_missing_numbers(
    form: str,
    trained: Callable[..., Path],  # noqa: F811
    houses: Path,  # noqa: F811
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    if form == "onnx":
        pytest.importorskip("onnxruntime")
    folder = trained(*table_words(houses, "sold"), "epochs=9")
    run, file = dlrun.load(folder), tmp_path / FORMATS[form]
    capfd.readouterr()
    assert command("export", str(folder), "--format", form, "--output", str(file)) == 0
    assert capfd.readouterr().out.splitlines() == ["input: rows x 9 numbers", "output: rows x 2 numbers", str(file)]
    frame = HOUSES.drop(columns="sold")
    columns = {
        "price": frame["price"].str.replace(",", "."),
        "share": frame["share"].str.rstrip(" %").str.replace(",", "."),
    }
    columns |= {"built.year": frame["built"].str[-4:], "built.month": frame["built"].str[3:5], "rooms": frame["rooms"]}
    columns |= {
        f"colour={name}": (frame["colour"].replace("", "missing") == name).astype(int)
        for name in frame["colour"].replace("", "missing").unique()
    }
    numbers = np.column_stack([columns[name].replace("", "nan").astype(np.float32) for name in run.encoding.features])
    assert np.isnan(numbers).sum() == 12
    found, told = computed(file, numbers)
    wanted = run.predict(houses)
    assert told["output"]["columns"] == ["probability_no", "probability_yes"] and told["classes"] == ["no", "yes"]
    assert told["input"] == {"shape": ["rows", 9], "features": run.encoding.features}
    assert np.abs(found - wanted[told["output"]["columns"]]).to_numpy().max() < 1e-5


@pytest.mark.parametrize("name", [name for name in choices("architecture") if name != "point"])
@pytest.mark.slow
def test_every_architecture(name: str, files: Path, tmp_path: Path) -> None:  # noqa: F811
    """By ONNX, which is made of the program that a file of torch's holds."""
    pytest.importorskip("onnxruntime")
    words = [word for word in typed(f"architecture={name}") if not word.startswith("precision=")]
    assert command(*(word.replace("{files}", str(files)) for word in words), f"hydra.run.dir={tmp_path / 'run'}") == 0
    run, file = dlrun.load(tmp_path / "run"), tmp_path / FORMATS["onnx"]
    export.export(run, "onnx", file)
    for count in (1, 7):  # another number of rows than it was made with
        raw, wanted = meant(run, count)
        found, _ = computed(file, raw)
        assert found.shape == wanted.shape and np.abs(found - wanted.numpy()).max() < 1e-5 * max(
            1, float(wanted.abs().max())
        )


def test_a_regression_comes_out_in_its_own_unit(trained: Callable[..., Path], tmp_path: Path) -> None:  # noqa: F811
    """Where training standardised the targets, and neither missing numbers nor a matrix stand before the network."""
    run, file = dlrun.load(trained("dataset=diabetes", "epochs=2")), tmp_path / "model.pt2"
    assert set(dict(run.predictor.named_buffers(recurse=False))) == {"offset", "divisor", "mean", "std"}
    export.export(run, "torch", file)
    raw, wanted = meant(run, 7)
    assert np.abs(computed(file, raw)[0] - wanted.numpy()).max() < 1e-5 * float(wanted.abs().max())


class Odd(torch.nn.Module):
    """A network whose computation depends on its inputs, which no graph holds."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :3] if x.sum() > 0 else x[:, 1:]


def test_what_export_refuses(
    trained: Callable[..., Path],  # noqa: F811
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = str(trained("dataset=iris", "batch_size=8"))

    def ended(*words: str) -> Ended:
        return Ended(command("export", *words), *capfd.readouterr())

    (tmp_path / "there").write_text("mine")
    wrong = {
        "is there already, and is not overwritten": [folder, "--format=torch", f"--output={tmp_path / 'there'}"],
        "--format ...: must be onnx or torch": [folder],
        "--format onx: must be onnx or torch; did you mean onnx?": [folder, "--format", "onx"],
        "export: name the folder of one run": ["--format=torch"],
        "name the folder of one run": [folder, folder, "--format=torch"],
    }
    for message, words in wrong.items():
        told = ended(*words)
        assert told.code == 2 and message in " ".join(told.err.split()) and "Traceback" not in told.err
    assert (tmp_path / "there").read_text() == "mine"
    run = dlrun.load(folder)
    run.predictor.network = Odd()
    with pytest.raises(ConfigError, match="MLP cannot be exported as torch: "):
        export.export(run, "torch", tmp_path / "odd")
    monkeypatch.setattr(export, "_run_torch", lambda content, rows: torch.full((len(rows), 3), 0.5))
    with pytest.raises(ConfigError, match=r"computes something else, off by .*e-01: nothing is written"):
        export.export(dlrun.load(folder), "torch", tmp_path / "other")
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(ConfigError, match=r"needs the extra dlrun\[onnx\]"):
        export.export(dlrun.load(folder), "onnx", tmp_path / "other")
    assert not (tmp_path / "odd").exists() and not (tmp_path / "other").exists()
