"""Hydra's `hydra/launcher=stack_slurm`: a sweep's stacks as tasks of a Slurm job array. Light, as launcher.py is."""

from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from dlrun.config.options import UNTIL_DECIDED


class SlurmLauncher(Launcher):
    """Trains a sweep's jobs as stacks, on a cluster; `conf/hydra/launcher/stack_slurm.yaml` has its options."""

    def __init__(self, width: int | None, retry_failed: bool, **options: Any) -> None:
        self.options = {k: OmegaConf.to_container(v) if OmegaConf.is_config(v) else v for k, v in options.items()}
        self.shared: dict[str, Any] = {"width": width, "retry_failed": retry_failed}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.context, self.config = hydra_context, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from dlrun.errors import ConfigError
        from dlrun.sweep.cluster import Slurm
        from dlrun.sweep.launch import launch

        sweeper = self.config.hydra.sweeper
        decides = sweeper.get("trials") or "optuna" in sweeper._target_ or self.config.seed == UNTIL_DECIDED
        if not self.options["wait"] and decides:
            raise ConfigError(
                "hydra.launcher.wait=false: the first runs decide on the others here, so this sweep waits"
            )
        trainer, loader = Slurm(self.options), self.context.config_loader
        return launch(self.config, loader, job_overrides, initial_job_idx, trainer=trainer, **self.shared)
