"""Hydra's `hydra/launcher=stack`: a sweep's jobs as stacks, on this machine. Light, since Hydra always loads it."""

# No `from __future__ import annotations`: Hydra runs this file without an entry in sys.modules, where a dataclass would
# look for the names in its annotations.
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


@dataclass
class StackLauncherConf:
    """The launcher's options."""

    _target_: str = "hydra_plugins.dlrun_stack.launcher.StackLauncher"
    width: int | None = None  # runs that train as one stack at most; null: by the network's size
    workers: int | None = None  # processes at a time; null: one per core, or per GPU
    retry_failed: bool = False  # train failed runs again that the sweep's folder holds


ConfigStore.instance().store(group="hydra/launcher", name="stack", node=StackLauncherConf, provider="dlrun")


class StackLauncher(Launcher):
    """Trains a sweep's jobs as stacks, in worker processes."""

    def __init__(self, width: int | None, workers: int | None, retry_failed: bool) -> None:
        self.workers = workers
        self.options: dict[str, Any] = {"width": width, "retry_failed": retry_failed}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.context, self.config = hydra_context, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from dlrun.sweep.launch import Here, launch

        trainer, loader = Here(self.workers), self.context.config_loader
        return launch(self.config, loader, job_overrides, initial_job_idx, trainer=trainer, **self.options)
