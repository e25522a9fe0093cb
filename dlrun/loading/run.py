"""A run in Python, from its folder alone: its numbers, its network, what that predicts of new rows."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from omegaconf import DictConfig
from torch import Tensor, nn

from dlrun.config import typed
from dlrun.config.check import Rules, leaves, resolved
from dlrun.config.composed import composed
from dlrun.config.words import did_you_mean
from dlrun.datasets import new_rows
from dlrun.datasets.encoded import Encoded, read_encoding
from dlrun.errors import ConfigError
from dlrun.folder.contents import exists
from dlrun.folder.names import CONFIG, shell_command
from dlrun.folder.reading import read_metrics, refuse_no_run, status_of, summary_of
from dlrun.folder.resume import COMPLETE, read_config
from dlrun.job.weights import WEIGHTS, read_weights, refuse_unlike
from dlrun.loading.predictor import Predictor
from dlrun.matrix.theta import unlike
from dlrun.metrics import classes_of
from dlrun.training.build import network
from dlrun.training.components import Node, component
from dlrun.training.evaluation import chunk_size
from dlrun.training.sources import task_of

Which = Literal["best", "last"]
USED = ("architecture", "normalization", "regularizer", "loss", "precision", "seed")  #: keys that make a network


class LoadedRun:
    """A run's folder, of which each part is read when it is first asked for.

    Args:
        folder: of a run, finished or not.
        which: the parameters of `model`: those of the best validation loss, or the last.
        allow_targets: packages beside dlrun's own whose classes the network may be made of.

    Raises ConfigError for a folder that is no run's; and wherever a part of it is missing, damaged, or has what is not
    allowed.
    """

    def __init__(self, folder: str | Path, which: Which = "best", allow_targets: Collection[str] = ()) -> None:
        self.folder, self.which = Path(folder).expanduser(), which
        self._packages = {*map(typed.normal, allow_targets), *typed.packages()}
        if which not in WEIGHTS:
            raise ConfigError(f"which={which}: must be best or last{did_you_mean(which, list(WEIGHTS))}")
        refuse_no_run(self.folder)

    def __repr__(self) -> str:
        return f"<run {self.folder}: {status_of(self.folder) or 'interrupted'}>"

    @cached_property
    def config(self) -> dict[str, Any]:
        """What was trained: config.yaml, with every choice resolved."""
        return read_config(self.folder)

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """The rows of metrics.csv, an evaluation each."""
        return read_metrics(self.folder)

    @cached_property
    def summary(self) -> dict[str, Any]:
        """summary.json: how the run ended and what it reached. Of a run without one, that it was interrupted."""
        return summary_of(self.folder)

    @cached_property
    def model(self) -> nn.Module:
        """The trained network in evaluation mode, on the CPU: scaled inputs (batch, *shape) to its outputs (batch,
        outputs), of which `predict` makes classes or numbers."""
        return self.predictor.network

    @cached_property
    def encoding(self) -> Encoded:
        """How new rows become the network's inputs."""
        architecture = self.config.get("architecture")
        if isinstance(architecture, dict) and architecture.get("_target_") == "dlrun.architectures.point.Point":
            raise ConfigError(
                f"{self.folder} is a run on a test function: it has a point, and no network to predict with"
            )
        return read_encoding(self.folder)

    @cached_property
    def predictor(self) -> Predictor:
        """The network with what stands before and after it: from a source's numbers to predictions."""
        encoding, node = self.encoding, self._node()
        file = WEIGHTS[self.which]
        if not exists(self.folder, file) and self.summary["status"] not in COMPLETE:
            raise ConfigError(
                f"{self.folder} has no weights yet: the run was {self.summary['status']}; "
                f"`{shell_command('resume', self.folder)}` goes on"
            )
        saved = read_weights(self.folder, file)
        try:
            data = task_of(node, encoding.empty())
            loss = component(node["loss"])[0].for_dataset(data)
            model = network(node, data, loss.outputs(data.outputs), saved)
        except ConfigError:
            raise
        except Exception as problem:  # sizes of a stranger's, keys of another version
            raise ConfigError(f"{self.folder / CONFIG} makes no network: {problem!r}") from problem
        own = _tensors(model)
        refuse_unlike(self.folder / file, unlike(own, saved))
        model = model.to(encoding.precision).eval()
        with torch.no_grad():
            for name, tensor in _tensors(model).items():
                tensor.copy_(saved[name])
        return Predictor(model, data, encoding, loss).eval()

    def _node(self) -> Node:
        """The run's config, of which what makes a network has been checked."""
        defaults = _defaults()
        node = {**resolved(defaults), **self.config}
        rules = Rules(node, defaults.hydra, self._packages)
        used = {key: node[key] for key in USED}
        if problems := [told for path, value in leaves(used) if (told := rules.problem(path, value))]:
            raise ConfigError("\n".join([f"{self.folder / CONFIG}:", *problems]))
        return node

    @torch.no_grad()
    def predict(self, inputs: pd.DataFrame | ArrayLike | Tensor | str | Path | Sequence[str | Path]) -> pd.DataFrame:
        """What the network says of new rows, encoded as the run's own were: a row for each, in their order.

        `prediction` is the name of a class, beside a `probability_…` of each, or the number of a regression in its own
        unit (`prediction_1` and so on for several), with a `deviation` where the loss has one. A loss that means no
        probabilities leaves a `score`, positive for the second class. Of an autoencoder it is the inputs again, as
        dataset.scale left them.

        Args:
            inputs: a DataFrame, or the path of a table's file, with the columns of the run's table by name, in any
                order and among others; missing values are as they were in training. Or numbers (rows, *shape) as the
                source had them, before scaling. Or paths of image files, or of a folder of them.

        Raises ConfigError for other columns, another shape, an unknown category and the like.
        """
        numbers, place, files = self._numbers(inputs)
        if not len(numbers):
            raise ConfigError(f"{place}: there are no rows")
        new_rows.refuse_missing(numbers, self.encoding, place)
        found = self._predicted(numbers, place)
        if isinstance(inputs, pd.DataFrame):
            found.index = inputs.index
        if files:
            found.insert(0, "file", list(map(str, files)))
        return found

    def _numbers(self, inputs: Any) -> tuple[np.ndarray, str, list[Path]]:
        """(rows, *shape) numbers, where they are from, and the images that they are of."""
        encoding = self.encoding
        if isinstance(inputs, pd.DataFrame):
            if not encoding.columns:
                shape = _shape(encoding.shape)
                raise ConfigError(
                    f"a DataFrame has no rows of this run, whose inputs are {shape} numbers: give an array"
                )
            return new_rows.of_frame(inputs, encoding), "the DataFrame", []
        paths = _paths(inputs)
        if not paths:
            return _array(inputs, encoding.shape), "the inputs", []
        if absent := [path for path in paths if not path.exists()]:
            raise ConfigError(f"there is no file {absent[0]}")
        if encoding.image:
            files = [file for path in paths for file in new_rows.images_in(path)]
            return new_rows.of_images(files, encoding), str(paths[0]), files
        if len(paths) > 1:
            raise ConfigError(f"{paths[1]}: give one file of rows")
        return new_rows.of_file(paths[0], encoding), str(paths[0]), []

    def _predicted(self, numbers: np.ndarray, place: str) -> pd.DataFrame:
        predictor, rows = self.predictor, torch.as_tensor(numbers)
        told, classes = [], []
        classify = predictor.data.task != "regression"  # an autoencoder's is one, whatever its data
        for chunk in rows.split(chunk_size(1, rows)):
            x = predictor.encode(chunk)
            if not bool(torch.isfinite(x).all()):
                raise ConfigError(f"{place} holds numbers too large for {predictor.precision}")
            outputs = predictor.network(x)
            told.append(predictor.decode(outputs))
            if classify:
                classes.append(classes_of(outputs, predictor.binary))
        found = pd.DataFrame(torch.cat(told).numpy(), columns=predictor.columns)
        if classify:
            names = np.array(predictor.data.class_names, dtype=object)
            found.insert(0, "prediction", names[torch.cat(classes).long().numpy()])
        return found


@cache  # Hydra takes longer to compose it than a small network to predict
def _defaults() -> DictConfig:
    """What a config says where it says nothing, with Hydra's own part."""
    return composed([])


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """What a file of its weights holds, by name: parameters, and the buffers that are saved."""
    saved = model.state_dict()
    return {**dict(model.named_parameters()), **{n: each for n, each in model.named_buffers() if n in saved}}


def _paths(inputs: Any) -> list[Path]:
    """What was given as paths; nothing where it is numbers."""
    given = [inputs] if isinstance(inputs, str | Path) else inputs
    if isinstance(given, list | tuple) and given and all(isinstance(each, str | Path) for each in given):
        return [Path(each).expanduser() for each in given]
    return []


def _array(inputs: Any, shape: tuple[int, ...]) -> np.ndarray:
    """(rows, *shape) numbers."""
    try:
        found = inputs.detach().cpu().numpy() if isinstance(inputs, Tensor) else np.asarray(inputs)
    except ValueError as problem:  # lists of different lengths
        raise ConfigError(f"numbers are wanted, (rows, {_shape(shape, ', ')}): {problem}") from problem
    if found.dtype.kind not in "fiub":
        raise ConfigError(f"numbers are wanted, (rows, {_shape(shape, ', ')}), and these are {found.dtype}")
    if found.shape[1:] != shape:
        raise ConfigError(
            f"rows of {_shape(shape)} numbers are wanted, (rows, {_shape(shape, ', ')}), and these are {found.shape}"
        )
    return np.require(found, found.dtype.newbyteorder("="), ["C", "W"])  # as torch takes them


def _shape(shape: tuple[int, ...], between: str = " x ") -> str:
    return between.join(map(str, shape))
