"""Every choice of the registry at its smallest: what it needs beside small defaults, and stand-ins for its files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from copy import deepcopy
from functools import cache, reduce
from operator import getitem
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import torch
import yaml
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import save_file
from test_images import pictures, write_cifar, write_mnist
from test_tables import FLOWERS

from dlrun.config.catalogue import choices, conf_dir, groups
from dlrun.datasets import cifar

GROUPS = groups()
OTHERS = ("diagnostics=paths",)  #: looks at other runs' folders, and has tests of its own
EVERY = [each for group in GROUPS for name in choices(group) if (each := f"{group}={name}") not in OTHERS]

BASE = ["dataset=iris", "architecture=mlp", "optimizer=sgd"]  #: in place of the registry's own defaults
DEVICE = os.environ.get("DLRUN_TEST_DEVICE", "cpu")  #: where the registry is tried: scripts/gpu.py asks for another
KEYS = [f"device={DEVICE}", *"name=test precision=float64 compile=false batch_size=16 steps=2 eval_every=0.01".split()]
CONVOLUTION = ["architecture.channels=[2]", "architecture.kernel=3", "architecture.hidden=[4]"]
PRETRAINING = ["initializer.epochs=1", "initializer.batch_size=32"]

#: what a choice needs to be trained, and quickly: choices of other groups, and keys
NEEDS: dict[str, list[str]] = {
    "architecture=mlp": ["architecture.hidden=[6]"],  # too many parameters for a Hessian on 28 x 28 pixels
    "architecture=autoencoder": ["architecture.widths=[4,4]"],
    "architecture=cnn": ["dataset=digits", *CONVOLUTION],
    "architecture=stn": ["dataset=digits", *CONVOLUTION, "architecture.localisation=[4]"],
    "architecture=densenet": ["dataset=digits", "architecture.depth=10", "architecture.growth=6"],
    "architecture=resnet": ["dataset=digits", "architecture.depth=8", "architecture.width=4"],
    "architecture=resnet18": ["dataset=digits", "architecture.width=2"],
    "architecture=rnn": ["dataset=sequences", "architecture.hidden=4"],
    "architecture=lstm": ["dataset=sequences", "architecture.hidden=4"],
    "architecture=gru": ["dataset=sequences", "architecture.hidden=4"],
    "architecture=point": ["dataset=beale"],
    "architecture=rbf": ["architecture.kernels=3"],
    "dataset=beale": ["architecture=point"],
    "dataset=cliff": ["architecture=point"],
    "dataset=himmelblau": ["architecture=point"],
    "dataset=long_valley": ["architecture=point"],
    "dataset=quadratic": ["architecture=point"],
    "dataset=rosenbrock": ["architecture=point"],
    "dataset=saddle": ["architecture=point"],
    "dataset=given": ["dataset.inputs=[[1,2],[3,1],[0,-1],[2,2],[-1,0]]", "dataset.targets=[3,1,-2,0,2]"],
    "dataset=random_quadratic": ["architecture=point"],
    "dataset=slope": ["architecture=point"],
    "dataset=digits": ["dataset.train_size=24", "dataset.val_fraction=0.02", "dataset.test_fraction=0.02"],
    "dataset=sequences": ["architecture=rnn", "dataset.samples=24", "dataset.length=5"],
    "dataset=mnist": ["dataset.path={files}/mnist", "dataset.val_fraction=0.2"],
    "dataset=fashion_mnist": ["dataset.path={files}/mnist", "dataset.val_fraction=0.2"],
    "dataset=kmnist": ["dataset.path={files}/mnist", "dataset.val_fraction=0.2"],
    "dataset=cifar10": ["dataset.path={files}/cifar-10-batches-bin"],
    "dataset=cifar100": ["dataset.path={files}/cifar-100-binary", "dataset.val_fraction=0.5"],
    "dataset=image_folder": ["dataset.path={files}/pictures"],
    "dataset=table": ["dataset.path={files}/flowers.csv"],
    "diagnostics=decision_boundary": ["dataset=moons"],
    "diagnostics=filters": ["dataset=digits"],
    "diagnostics=fit": ["dataset=sine"],
    "diagnostics=lags": ["architecture=rnn"],
    "diagnostics=moments": ["normalization=batch"],
    "initializer=checkpoint": ["initializer.path={files}/model.safetensors"],
    "initializer=given": [
        "dataset=iris",
        "architecture=mlp",
        "normalization=none",
        f"initializer.values={[round(0.9 * (-1) ** i / (1 + i % 7), 3) for i in range(51)]}",
    ],
    "initializer=rbm_pretraining": ["architecture=mlp", "architecture.activation=sigmoid", *PRETRAINING],
    "initializer=autoencoder_pretraining": PRETRAINING,
    "loss=binary_cross_entropy": ["dataset=moons"],
    "loss=hinge": ["dataset=moons"],
    "loss=square": ["dataset=moons"],
    "loss=squared_hinge": ["dataset=moons"],
    "loss=gaussian_nll": ["dataset=diabetes"],
    "loss=huber": ["dataset=diabetes"],
    "normalization=group": ["normalization.groups=2"],
    "normalization=instance": ["architecture=cnn"],
    "optimizer=bfgs": ["batch_size=full"],
    "optimizer=conjugate_gradient": ["batch_size=full"],
    "optimizer=lbfgs": ["batch_size=full"],
    "optimizer=levenberg_marquardt": ["batch_size=full"],
    "optimizer=newton": ["optimizer.damping=0.1"],  # softmax alone has a singular Hessian: rounding decides the step
    "optimizer=torch": ["optimizer.args={momentum: 0.9}"],
    "regularizer=augmentation": ["dataset=digits"],
    "regularizer=swa": ["batch_size=full", "regularizer.swa.start=0"],
    "regularizer=snapshot_ensemble": ["batch_size=full", "schedule=cosine_restarts", "steps=4"],
    "schedule=cosine_restarts": ["schedule.period=2"],
    "schedule=plateau": ["schedule.patience=0", "schedule.threshold=0.9"],  # so that its memory matters at once
    "regularizer=early_stopping": ["regularizer.early_stopping.min_delta=9"],
    "schedule=lr_range": ["schedule.max_factor=1"],
    "schedule=manual": ["schedule.rates={0: 0.1}"],
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Stand-ins, in their true formats, for the files that choices read; `{files}` in NEEDS is the folder."""
    folder = tmp_path_factory.mktemp("files")
    write_mnist(folder / "mnist")
    write_cifar(folder / "cifar-10-batches-bin", cifar.CIFAR10)
    write_cifar(folder / "cifar-100-binary", cifar.CIFAR100)
    pictures(folder / "pictures", 8, 8, 3, count=8)
    header, *rows = FLOWERS.splitlines()
    (folder / "flowers.csv").write_text("\n".join([header, *rows * 8]))
    save_file({"1.weight": torch.ones(6, 4), "1.bias": torch.ones(6)}, folder / "model.safetensors")
    joblib.dump(np.random.default_rng(0).uniform(1, 9, (40, 9)), folder / "cal_housing_py3.pkz")  # scikit-learn's cache
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCIKIT_LEARN_DATA", str(folder))
        patch.setenv("DLRUN_DATA", str(folder))
        yield folder


def typed(*chosen: str) -> list[str]:
    """What to type to train these choices, `group=name` each: they, what they need, and small defaults for the rest."""
    picked = {word.partition("=")[0]: word for word in chosen}
    keys, seen = list(KEYS), set()
    waiting, rest = list(chosen), list(BASE)
    while waiting or rest:
        word = waiting.pop(0) if waiting else rest.pop(0)
        group = word.partition("=")[0]
        if group not in GROUPS:
            keys.append(word)
        elif picked.setdefault(group, word) == word and word not in seen:
            seen.add(word)
            waiting += NEEDS.get(word, [])
    return [*picked.values(), *keys]


def composed(words: list[str], files: Path) -> DictConfig:
    """What Hydra composes from these words, in a twentieth of its time."""
    config = deepcopy(file("dlrun.yaml"))
    listed = [each for each in config.pop("defaults") if isinstance(each, dict)]
    chosen = {group: name for each in listed for group, name in each.items() if group in GROUPS}
    split = [word.partition("=")[::2] for word in words]
    for group, name in (chosen | {key: value for key, value in split if key in GROUPS}).items():
        config[group] = config.get(group, {}) | deepcopy(file(f"{group}/{name}.yaml"))
    for key, value in split:
        if key not in GROUPS:
            *above, last = key.split(".")
            node = reduce(getitem, above, config)
            if last in node:  # else it was needed with another choice of that group
                node[last] = yaml.safe_load(value.replace("{files}", str(files)))
    return OmegaConf.create(config)


@cache
def file(name: str) -> dict[str, Any]:
    """A file of the registry."""
    config = OmegaConf.load(conf_dir() / name)
    return {str(key): value for key, value in OmegaConf.to_container(config).items()}  # type: ignore[union-attr]
