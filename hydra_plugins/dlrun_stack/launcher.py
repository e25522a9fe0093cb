"""Hydra's `hydra/launcher=stack`: a sweep's jobs as stacks, on this machine. Light, since Hydra always loads it."""

from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class StackLauncher(Launcher):
    """Trains a sweep's jobs as stacks, in worker processes; `conf/hydra/launcher/stack.yaml` has its options."""

    def __init__(self, width: int | None, workers: int | None, retry_failed: bool) -> None:
        self.workers = workers
        self.options: dict[str, Any] = {"width": width, "retry_failed": retry_failed}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.context, self.config = hydra_context, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from dlrun.sweep.launch import launch
        from dlrun.sweep.trainers import Here

        trainer, loader = Here(self.workers), self.context.config_loader
        return launch(self.config, loader, job_overrides, initial_job_idx, trainer=trainer, **self.options)
