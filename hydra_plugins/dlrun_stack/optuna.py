"""Optuna's search over dlrun's jobs, by the objective; in place of the sweeper that `hydra/sweeper=optuna` names."""

from collections import Counter
from enum import Enum
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

DIRECTIONS = ("minimize", "maximize")
NAME = "dlrun"  #: of a study that has no name
RESULTS = "optimization_results.yaml"
FOLDER, OVERRIDES = "dlrun:folder", "dlrun:overrides"  #: of a trial: its sweep, and what was launched
WANTED = "dlrun:trials"  #: of a study: how many there are at the end of the search that has begun


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
        from dlrun.files.surroundings import load_matplotlib

        load_matplotlib()  # which optuna imports
        import optuna

        from dlrun.sweep.objective import DEFAULT, maximised
        from dlrun.sweep.other_launchers import recorded

        options = {key: value for key, value in self.options.items() if key != "_target_"}
        sampler, storage = options["sampler"], options["storage"]
        self.objective = config.objective or DEFAULT
        direction = options["direction"]
        if not isinstance(direction, str | Enum) or str(getattr(direction, "name", direction)) not in DIRECTIONS:
            raise ConfigError(f"hydra.sweeper.direction={direction}: must be {' or '.join(DIRECTIONS)}")
        if maximised(self.objective):
            options["direction"] = "maximize"
        if storage is None and "seed" in sampler and sampler.seed is None:
            sampler.seed = config.seed if isinstance(config.seed, int) else 0  # the same command makes the same trials
        self.storage = storage or optuna.storages.InMemoryStorage()
        self.name = options["study_name"] or NAME
        if sampler.get("seed") is not None and (study := self._study()):
            sampler.seed += len(study.trials)  # else it would try again what it has tried
        options |= {"sampler": instantiate(sampler), "storage": self.storage, "study_name": self.name}
        options["max_failure_rate"] = 1.0  # a run that fails is counted, and says nothing of its values
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.sweeper = _sweeper(options, str(Path(config.hydra.sweep.dir).absolute()))
        self.sweeper.setup(hydra_context=hydra_context, task_function=task_function, config=config)
        self.sweeper.launcher = recorded(self.sweeper.launcher, hydra_context, config, retry_failed=False)
        self.folder = Path(config.hydra.sweep.dir)
        self.config, self.loader = config, hydra_context.config_loader

    def sweep(self, arguments: list[str]) -> None:
        """Run the batches, and leave what the study has found in the sweep's folder."""
        import optuna

        from dlrun.files.replacing import replacing

        self._refuse_ranges(arguments)
        study = self._study()
        wanted = [direction.lower() for direction in self.sweeper._get_directions()]
        if study and (there := [direction.name.lower() for direction in study.directions]) != wanted:
            raise ConfigError(
                f"objective={self.objective}: the study {self.name} in {self.storage} is to {' and '.join(there)}, "
                f"this search to {' and '.join(wanted)}: give it another name by hydra.sweeper.study_name=..."
            )
        try:
            self._search(arguments)
        except (ConfigError, HydraException, OmegaConfBaseException):
            begun = self._study()
            if not study and begun and not any(trial.state.is_finished() for trial in begun.trials):
                optuna.delete_study(study_name=self.name, storage=self.storage)  # its direction would stay
            elif begun:  # what was refused would be refused again
                for trial in self._left(begun):
                    begun.tell(trial.number, state=optuna.trial.TrialState.FAIL)
            raise
        except (ValueError, RuntimeError) as problem:
            if (begun := self._study()) is None or not begun.trials:  # what the sampler does not search
                raise ConfigError(f"hydra/sweeper=optuna: {problem}") from problem
            # All runs failed, of which the exit code tells; or the last of a grid did, where the plugin does not expect
            # that its sampler asks to stop.
            if not any(each in str(problem) for each in ("No trials are completed", "`Study.stop`")):
                raise
        study = self._study()
        study.set_user_attr(WANTED, _finished(study))  # which a grid may have reached with fewer trials
        counts = Counter(map(_ending, study.get_trials(deepcopy=False)))
        found: dict[str, Any] = {"name": "optuna", "study": self.name, "objective": self.objective}
        found |= {"direction": study.direction.name.lower(), "trials": dict(counts)}
        if counts["complete"] or counts["diverged"]:
            best = study.best_trial
            found |= {"best_trial": best.number, "best_value": best.value, "best_params": dict(best.params)}
        with replacing(self.folder / RESULTS) as part:
            OmegaConf.save(OmegaConf.create(found), part)

    def _search(self, arguments: list[str]) -> None:
        """Bring the trials to their end that an earlier command began here, and the search that it was in; else begin
        another, or none where a complete one is resumed."""
        import optuna

        from dlrun.report.collect import find
        from dlrun.sweep import beginning

        directions = self.sweeper._get_directions()
        study = optuna.create_study(
            storage=self.storage, study_name=self.name, directions=directions, load_if_exists=True
        )
        left, goes_on = self._left(study), _finished(study) < study.user_attrs.get(WANTED, 0)
        if any(OVERRIDES in trial.system_attrs for trial in left):
            begun = [trial for trial in left if OVERRIDES in trial.system_attrs]
            jobs = [trial.system_attrs[OVERRIDES] for trial in begun]
            for trial, ended in zip(begun, self.sweeper.launcher.launch(jobs, initial_job_idx=0), strict=True):
                _tell(study, trial, ended.return_value)
        for trial in self._left(study):  # it was killed before it was told which values to try
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        done = _finished(study)
        if left or goes_on:
            wanted = max(done, study.user_attrs.get(WANTED, 0))
        else:
            wanted = done if beginning.resuming and done else done + self.sweeper.n_trials
        study.set_user_attr(WANTED, wanted)
        if wanted > done:
            self.sweeper.n_trials = wanted - done
            self.sweeper.sweep(arguments)
        elif not left:  # a complete search is shown again
            beginning.ended[self.folder.absolute()] = list(find([self.folder]).values())

    def _left(self, study: Any) -> list[Any]:
        """The trials that a command which was ended left in the sweep's folder."""
        folder = str(self.folder.absolute())
        trials = study.get_trials(deepcopy=False)
        return [t for t in trials if not t.state.is_finished() and t.system_attrs.get(FOLDER) == folder]

    def _refuse_ranges(self, arguments: list[str]) -> None:
        """Raise ConfigError for ranges in which there is nothing, or what no run may have, and where there are none."""
        from hydra_plugins.hydra_optuna_sweeper._impl import create_params_from_overrides

        from dlrun.sweep.sampling import check_values

        ends: dict[str, tuple[str, list[Any]]] = {}
        fixed: list[str] = []
        for argument in [*self.sweeper._parse_sweeper_params_config(), *arguments]:
            try:
                searched, _ = create_params_from_overrides([argument])
            except (ValueError, AssertionError, NotImplementedError) as problem:
                raise ConfigError(f"{argument}: no range that can be searched: {problem}") from problem
            ends |= {key: (argument, _ends(distribution)) for key, distribution in searched.items()}
            fixed += [] if searched else [argument]
        if not (ends or self.options["search_space"] or self.options["custom_search_space"]):
            raise ConfigError(
                "hydra/sweeper=optuna has nothing to search: give a key a range or choices, as 'lr=interval(1e-3,1)'"
            )
        first = [f"{key}={values[0]}" for key, (_, values) in ends.items()]
        check_values(self.config, self.loader, [*fixed, *first], ends)

    def _study(self) -> Any:
        """What the storage holds under the study's name, if anything."""
        import optuna

        try:
            return optuna.load_study(study_name=self.name, storage=self.storage)
        except KeyError:
            return None
        except Exception as problem:  # SQLAlchemy's, of which there are many
            reason = str(problem).splitlines()[0]
            raise ConfigError(
                f"hydra.sweeper.storage={self.storage}: no study can be kept there: {reason}"
            ) from problem


def _ends(distribution: Any) -> list[Any]:
    """The choices of a distribution, or its lowest and its highest value."""
    if hasattr(distribution, "choices"):
        return list(distribution.choices)
    from dlrun.sweep.sampling import ends

    return ends(distribution.low, distribution.high)


def _sweeper(options: dict[str, Any], folder: str) -> Any:
    """The plugin's sweeper, which notes of each trial what is launched for it, and where."""
    from hydra_plugins.hydra_optuna_sweeper._impl import OptunaSweeperImpl

    class Noting(OptunaSweeperImpl):
        def _configure_trials(self, trials: Any, *space: Any) -> Any:
            for trial in trials:
                trial.set_system_attr(FOLDER, folder)
            jobs = super()._configure_trials(trials, *space)
            for trial, job in zip(trials, jobs, strict=True):
                trial.set_system_attr(OVERRIDES, list(job))
            return jobs

    return Noting(**options)


def _tell(study: Any, trial: Any, value: float | None) -> None:
    """As the plugin tells a study what a run gave."""
    from optuna.trial import TrialState

    try:
        study.tell(trial.number, value, state=TrialState.FAIL if value is None else TrialState.COMPLETE)
    except RuntimeError as problem:  # a grid's last trial asks to stop, which is for other loops than this
        if "`Study.stop`" not in str(problem):
            raise


def _finished(study: Any) -> int:
    return sum(trial.state.is_finished() for trial in study.get_trials(deepcopy=False))


def _ending(trial: Any) -> str:
    """How Optuna saw a trial end; one that diverged is complete to it, with the worst value."""
    return "diverged" if trial.value is not None and isinf(trial.value) else str(trial.state.name.lower())
