"""Optuna's search over dlrun's jobs, by the objective; in place of the sweeper that `hydra/sweeper=optuna` names."""

from collections import Counter
from math import isinf
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dlrun.errors import ConfigError

NAME = "dlrun"  #: of a study that has no name
RESULTS = "optimization_results.yaml"


class Optuna(Sweeper):
    """The sweeper of hydra-optuna-sweeper, which goes on when runs fail, and tells how its trials ended.

    options: its own; the direction is that of the objective, unless it is to be maximised anyway.
    """

    def __init__(self, options: DictConfig) -> None:
        self.options: dict[str, Any] = dict(options.items())

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        for key in ("zip", "settings"):
            if config[key] is not None:
                raise ConfigError(f"{key}: hydra/sweeper=optuna chooses the values itself; leave {key} out")
        import optuna
        from hydra_plugins.hydra_optuna_sweeper._impl import OptunaSweeperImpl

        from dlrun.sweep.objective import DEFAULT, maximised
        from dlrun.sweep.others import recorded

        options = {key: value for key, value in self.options.items() if key != "_target_"}
        sampler, storage = options["sampler"], options["storage"]
        self.objective = config.objective or DEFAULT
        if maximised(self.objective):
            options["direction"] = "maximize"
        if storage is None and "seed" in sampler and sampler.seed is None:
            sampler.seed = config.seed if isinstance(config.seed, int) else 0  # the same command makes the same trials
        self.storage = storage or optuna.storages.InMemoryStorage()
        self.name = options["study_name"] or NAME
        options |= {"sampler": instantiate(sampler), "storage": self.storage, "study_name": self.name}
        options["max_failure_rate"] = 1.0  # a run that fails is counted, and says nothing of its values
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.sweeper = OptunaSweeperImpl(**options)
        self.sweeper.setup(hydra_context=hydra_context, task_function=task_function, config=config)
        self.sweeper.launcher = recorded(self.sweeper.launcher, hydra_context, config, retry_failed=False)
        self.folder = Path(config.hydra.sweep.dir)

    def sweep(self, arguments: list[str]) -> None:
        """Run the batches, and leave what the study has found in the sweep's folder."""
        import optuna

        from dlrun.records import replacing

        study = self._study()
        wanted = [direction.lower() for direction in self.sweeper._get_directions()]
        if study and (there := [direction.name.lower() for direction in study.directions]) != wanted:
            raise ConfigError(
                f"objective={self.objective}: the study {self.name} in {self.storage} is to {' and '.join(there)}, "
                f"this search to {' and '.join(wanted)}: give it another name by hydra.sweeper.study_name=..."
            )
        try:
            self.sweeper.sweep(arguments)
        except (ConfigError, HydraException, OmegaConfBaseException):
            begun = self._study()
            if not study and begun and not any(trial.state.is_finished() for trial in begun.trials):
                optuna.delete_study(study_name=self.name, storage=self.storage)  # its direction would stay
            raise
        except (ValueError, RuntimeError) as problem:
            # All runs failed, of which the exit code tells; or the last of a grid did, where the plugin does not expect
            # that its sampler asks to stop.
            if not any(each in str(problem) for each in ("No trials are completed", "`Study.stop`")):
                raise
        study = self._study()
        counts = Counter(map(_ending, study.get_trials(deepcopy=False)))
        found: dict[str, Any] = {"name": "optuna", "study": self.name, "objective": self.objective}
        found |= {"direction": study.direction.name.lower(), "trials": dict(counts)}
        if counts["complete"] or counts["diverged"]:
            best = study.best_trial
            found |= {"best_trial": best.number, "best_value": best.value, "best_params": dict(best.params)}
        with replacing(self.folder / RESULTS) as part:
            OmegaConf.save(OmegaConf.create(found), part)

    def _study(self) -> Any:
        """What the storage holds under the study's name, if anything."""
        import optuna

        try:
            return optuna.load_study(study_name=self.name, storage=self.storage)
        except KeyError:
            return None


def _ending(trial: Any) -> str:
    """How Optuna saw a trial end; one that diverged is complete to it, with the worst value."""
    return "diverged" if trial.value is not None and isinf(trial.value) else str(trial.state.name.lower())
