"""Hydra's `hydra/launcher=stack_slurm`: a sweep's stacks as tasks of a Slurm job array. Light, as launcher.py is."""

# No annotations from __future__: Hydra runs this file without entering it in sys.modules, where dataclasses would look.
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf


@dataclass
class SlurmLauncherConf:
    """The launcher's options; those for sbatch have the names that submitit gives them."""

    _target_: str = "hydra_plugins.dlrun_stack.slurm.SlurmLauncher"
    tasks: int = 8  # of the job array, at most
    width: int | None = None  # runs that train as one stack at most; null: by the network's size
    workers: int | None = None  # processes of a task at a time; null: one per core, or per GPU
    wait: bool = True  # false: submit and return
    retry_failed: bool = False  # train failed runs again that the sweep's folder holds

    name: str = "${hydra.job.name}"
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    timeout_min: int = 60  # minutes of a task, from its start to Slurm's signal that has it requeued, and its end
    cpus_per_task: int = 1
    gpus_per_node: int | None = None
    mem_gb: float | None = None
    array_parallelism: int = 256  # tasks at a time, at most
    signal_delay_s: int = 120  # seconds between Slurm's signal and the end
    max_num_timeout: int = 100  # times that a task may be requeued because its time was over
    setup: list[str] | None = None  # shell commands before the task: module load, source activate
    additional_parameters: dict[str, Any] = field(default_factory=dict)  # any other option of sbatch's


ConfigStore.instance().store(group="hydra/launcher", name="stack_slurm", node=SlurmLauncherConf, provider="dlrun")


class SlurmLauncher(Launcher):
    """Trains a sweep's jobs as stacks, on a cluster."""

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
        if not self.options["wait"] and (sweeper.get("trials") or "optuna" in sweeper._target_):
            raise ConfigError(
                "hydra.launcher.wait=false: the first runs decide on the others here, so this sweep waits"
            )
        trainer, loader = Slurm(self.options), self.context.config_loader
        return launch(self.config, loader, job_overrides, initial_job_idx, trainer=trainer, **self.shared)
