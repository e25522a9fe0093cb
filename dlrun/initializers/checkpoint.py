"""Starting from the parameters of an earlier run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Generator, Tensor, nn

from dlrun.datasets.dataset import Dataset
from dlrun.errors import ConfigError
from dlrun.folder.contents import refuse_packed
from dlrun.folder.names import BEST
from dlrun.initializers.drawn import He
from dlrun.initializers.initializer import Bias
from dlrun.matrix.theta import Layout
from dlrun.normalizations import running_averages


class Checkpoint(He):
    """Parameters and running averages of a saved run, by name and shape; the rest is drawn as he_normal does.

    `report` lists the names that were loaded, skipped (of another shape in the file), missing (not in the file) and
    extra (in the file alone).

    Args:
        path: a run's folder, whose best parameters are taken, or a .safetensors file.
        strict: refuse a file that does not fit the network exactly.

    Raises ConfigError for a file that cannot be read or has nothing for this network; with strict also where any
    name is skipped, missing or extra.
    """

    def __init__(self, path: str, strict: bool, bias: Bias) -> None:
        super().__init__("normal", "fan_in", None, bias)
        self.path = path
        self.strict = strict

    def fits(self, model: nn.Module, layout: Layout, dataset: Dataset) -> None:
        super().fits(model, layout, dataset)
        self.fitting(model, dict(model.named_parameters()))

    def initialize(
        self, model: nn.Module, layout: Layout, theta: Tensor, dataset: Dataset, generator: Generator
    ) -> Tensor:
        theta = super().initialize(model, layout, theta, dataset, generator).clone()
        for place, value in self.fitting(model, {name: view[0] for name, view in layout.views(theta[None]).items()}):
            place.copy_(value)
        return theta

    def fitting(self, model: nn.Module, parameters: Mapping[str, Tensor]) -> list[tuple[Tensor, Tensor]]:
        """The network's parameters and running averages that the file has, each with its value there."""
        saved = load(self.path, "initializer.path")
        wanted = {**parameters, **{name: model.get_buffer(name) for name in sorted(running_averages(model))}}
        fitting = {
            name
            for name in wanted.keys() & saved.keys()
            if wanted[name].shape == saved[name].shape
            and wanted[name].is_floating_point() == saved[name].is_floating_point()
        }
        buffers = {name for name, _ in model.named_buffers()}  # the others are told by the config
        self.report = {
            "loaded": [name for name in wanted if name in fitting],
            "skipped": [name for name in wanted if name in saved.keys() - fitting],
            "missing": [name for name in wanted if name not in saved],
            "extra": [name for name in saved if name not in wanted.keys() | buffers],
        }
        unfit = [
            f"{kind}: {', '.join(self.report[kind])}" for kind in ("skipped", "missing", "extra") if self.report[kind]
        ]
        if not fitting or (self.strict and unfit):
            advice = "initializer.strict=false loads what fits" if fitting else "give the architecture of that run"
            raise ConfigError(f"initializer.path={self.path} does not fit this network ({'; '.join(unfit)}); {advice}")
        return [(wanted[name], saved[name]) for name in fitting]


def load(path: str, key: str) -> dict[str, Tensor]:
    """The tensors of a run's folder or a .safetensors file; ConfigError, with the key, where they cannot be read."""
    file = Path(path).expanduser()
    refuse_packed(file.parent if file.name.endswith(".safetensors") else file, f"{key}=")
    if file.is_dir():
        file /= BEST
    if not file.is_file():
        raise ConfigError(f"{key}={path}: there is no file {file}; give a run's folder or a .safetensors file")
    try:
        return load_file(file)
    except (SafetensorError, OSError) as problem:
        raise ConfigError(f"{key}={path}: {file} cannot be read as safetensors ({problem})") from problem
