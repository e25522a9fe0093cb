"""The lectures' own sizes: each recipe of `dlrun claims --large` composes, passes the check, and takes a step.

Of its settings, which are alike, every third takes it, and those from whose weights others begin."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from pathlib import Path

import numpy as np
import pytest
from conftest import config
from safetensors.torch import save_file
from test_images import idx_bytes, write_cifar

from dlrun.claims.claim import PLACE, load, names
from dlrun.datasets import cifar
from dlrun.job.folders import weights
from dlrun.training.build import build
from dlrun.training.evaluation import Row
from dlrun.training.stack import Stack
from dlrun.training.watching import Outcome

LARGER = [name for name in names() if load(name, large=True).settings != load(name).settings]
#: in place of a recipe's own: a single step of few of the samples that stand in for the files
SMALL = {
    "steps": "1", "epochs": None, "eval_every": "1", "batch_size": "4", "dataset.train_size": "8",
    "dataset.samples": "20", "lr": "1e-6", "dataset.test_fraction": None, "diagnostics": None,
    "initializer.epochs": "1",
}  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random images of every class, in the formats of MNIST and CIFAR-10."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "mnist").mkdir()
    for part in ("train", "t10k"):
        images = np.random.default_rng(0).integers(0, 256, (100, 28, 28))
        for kind, array in (("images-idx3", images), ("labels-idx1", np.arange(100) % 10)):
            (folder / "mnist" / f"{part}-{kind}-ubyte").write_bytes(idx_bytes(array))
    write_cifar(folder / "cifar10", cifar.CIFAR10, each=5)
    return folder


def shrunk(words: list[str], files: Path) -> list[str]:
    """The recipe's words, with little to train on and a single step."""
    found = {key: value for key, _, value in (word.partition("=") for word in words)}
    for key, value in SMALL.items():
        if value is None:
            found = {each: own for each, own in found.items() if each.partition(".")[0] != key}
        elif key in found or key in ("steps", "eval_every", "batch_size"):
            found[key] = value
    if "schedule.period" in found:  # of two steps, of 5 in an epoch; there have to be two
        found |= {"schedule.period": "0.4", "steps": "4"}
    if found["dataset"] in ("mnist", "cifar10"):
        found |= {"dataset.path": str(files / found["dataset"]), "dataset.val_fraction": "0.2"}
    return [f"{key}={value}" for key, value in found.items()]


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGER)
def test_a_large_recipe_takes_a_step(
    name: str, files: Path, tmp_path: Path, train: Callable[[Stack], tuple[Outcome, list[list[Row]]]]
) -> None:
    claim = load(name, large=True)
    trained = {place for words in claim.settings.values() for word in words for place in PLACE.findall(word)}
    begun: dict[str, Path] = {}
    taken: dict[tuple[str, ...], Path] = {}  # settings that differ in what is small here alone are one
    for setting in (setting for stage in claim.stages() for setting in stage):
        words = [PLACE.sub(lambda found: str(begun[found[1]]), word) for word in claim.settings[setting]]
        config(*words)  # as it stands
        small = shrunk(words, files)
        path = taken.setdefault(tuple(small), tmp_path / f"{setting}.safetensors")
        begun[setting] = path
        if path.exists() or (setting not in trained and len(begun) % 3 != 1):
            continue
        stack = build([config(*small, "device=cpu", "compile=false")])
        outcome, [rows] = train(stack)
        assert isfinite(rows[-1]["train_loss"]), (setting, rows[-1])
        save_file(weights(stack, outcome.last), path)
