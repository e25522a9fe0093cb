"""Optuna's search by ask and tell: a batch of points is asked for, trains as stacks, and is told together."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import fsum, isinf
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from hydra.core.utils import JobReturn
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from dlrun.errors import ConfigError
from dlrun.files.replacing import replacing
from dlrun.folder.reading import summary_of
from dlrun.folder.resume import unlike
from dlrun.report.collect import find
from dlrun.report.study import RESULTS
from dlrun.sweep import beginning
from dlrun.sweep.objective import maximised, names
from dlrun.sweep.space import Space
from dlrun.terminal.console import counted, say

DIRECTIONS = ("minimize", "maximize")
FOLDER, RUNS = "dlrun:folder", "dlrun:runs"  #: of a trial: its sweep, and the folders of its runs there
WANTED = "dlrun:trials"  #: of a study: how many there are at the end of the search that has begun
PROBLEM = "dlrun:problem"  #: of a study: what is searched, which all of its trials have in common
ANOTHER = "give it another name by hydra.sweeper.study_name=..."


class Search:
    """A search over a space, whose points are asked for and told in batches.

    The points of a batch are asked for together, so what is found hangs on the batch's size, and not on how many
    processes train. For each batch the sampler draws by a seed of its own, so that a search that was ended goes on as
    if it had not been: in a storage the study says where it stood, and without one the same points are asked for
    again, whose runs are in the sweep's folder already.

    Args:
        problem: what is searched, by keys, as `Space.problem` tells it.
        config: of the sweep.
        launch: trains jobs, the first of which has this number.
        directions: of the objectives; None where each one's metric says what is better.
        n_trials, n_jobs, sampler, seed, storage, study_name: see conf/hydra/sweeper/optuna.yaml.

    Raises ConfigError for directions, a sampler's batch or a storage that cannot be; `run` also for a study of another
    problem, and for one that cannot be read.

    Reference: Akiba et al. 2019, arXiv:1907.10902.
    """

    def __init__(
        self,
        space: Space,
        problem: Mapping[str, Any],
        config: DictConfig,
        launch: Callable[..., Sequence[JobReturn]],
        directions: Sequence[str] | None,
        *,
        n_trials: int,
        n_jobs: int,
        sampler: str,
        seed: int,
        storage: str | None,
        study_name: str,
    ) -> None:
        self.space, self.launch = space, launch
        self.came: dict[tuple[str, ...], list[float] | None] = {}  #: what each job of this command came to
        self.runs: dict[tuple[str, ...], str] = {}  #: the folders of these, in the sweep's
        self.without = 0  #: how many of them finished without a value
        self.folder = Path(config.hydra.sweep.dir).absolute()
        self.objectives = names(config.objective)
        self.directions = _directions(self.objectives, directions)
        self.problem = {**problem, "objective": ",".join(self.objectives)}
        self.n_trials, self.n_jobs, self.sampler, self.seed = n_trials, n_jobs, sampler, seed
        if sampler == "nsgaii" and n_jobs < 2:
            raise ConfigError("hydra.sweeper.sampler=nsgaii: its generations are the batches: give n_jobs=2 or more")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.name, self.place = study_name, storage
        self.storage: Any = storage if storage is None else _opened(storage)

    def run(self) -> None:
        """Search, and leave what was found in the sweep's folder."""
        study = self._study()
        begun = study.get_trials(deepcopy=False)
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Clip non-finite values")  # of runs that diverged
                self._search(study)
        except (ConfigError, HydraException, OmegaConfBaseException):
            if self.storage and not begun and not _finished(study):
                optuna.delete_study(study_name=self.name, storage=self.storage)  # its directions would stay
            else:
                _fail(study, self._left(study))  # what was refused would be refused again
            raise
        if self.without:
            say(
                f"{counted(self.without, 'run')} finished without a value of {' and '.join(self.objectives)}: a trial "
                "with such a run counts as failed"
            )
        with replacing(self.folder / RESULTS) as part:
            OmegaConf.save(OmegaConf.create(self._found(study)), part)

    def _study(self) -> Study:
        """The study in the storage, which is made where there is none.

        Raises ConfigError for one of another problem, and for one that cannot be read or is not as dlrun leaves it.
        """
        another = f"the study {self.name} in {self.place}"
        with self._readable():
            study = optuna.create_study(
                storage=self.storage,
                study_name=self.name,
                directions=[StudyDirection[direction.upper()] for direction in self.directions],
                load_if_exists=True,
            )
            directions = [direction.name.lower() for direction in study.directions]
            trials, there = study.get_trials(deepcopy=False), study.user_attrs.get(PROBLEM)
        if directions != self.directions:
            raise ConfigError(
                f"objective={','.join(self.objectives)}: {another} is to {' and '.join(directions)}, this search to "
                f"{' and '.join(self.directions)}: {ANOTHER}"
            )
        if there is None and trials:
            raise ConfigError(f"{another} does not say what was searched, so its trials may be of anything: {ANOTHER}")
        with self._readable():
            differ = [] if there is None else unlike(dict(there), self.problem)
        if differ:
            listed = "\n".join(f"  {each}" for each in differ)
            raise ConfigError(f"{another} is of another search: {ANOTHER}; what differs:\n{listed}")
        with self._readable():
            self._check(study.user_attrs.get(WANTED, 0), trials)
        if there is None:
            study.set_user_attr(PROBLEM, self.problem)
        return study

    @contextmanager
    def _readable(self) -> Iterator[None]:
        """Raises ConfigError for whatever Optuna raises at a study that is damaged."""
        try:
            yield
        except Exception as problem:  # it looks at nothing in a database before it takes it for what it should be
            told = (str(problem) or type(problem).__name__).splitlines()[0]
            raise ConfigError(f"the study {self.name} in {self.place} cannot be read: {told}: {ANOTHER}") from problem

    def _check(self, wanted: Any, trials: Sequence[FrozenTrial]) -> None:
        """Raise unless the trials lie in the space, those that wait to be asked for too, and have what is read of
        them."""
        if type(wanted) is not int:
            raise ValueError(f"{WANTED} is {wanted!r}, and no number")
        space = self.space.distributions
        for trial in trials:
            params = trial.params | dict(trial.system_attrs.get("fixed_params", {}))
            if not params.keys() <= space.keys() or any(space[key] != of for key, of in trial.distributions.items()):
                raise ValueError(f"trial {trial.number} is of another space")
            own = {key: space[key] for key in params}
            create_trial(state=trial.state, values=trial.values, params=params, distributions=own)  # which checks them
            whole = trial.values is None or (self._is_whole(trial) and len(trial.values) == len(self.directions))
            names = [trial.user_attrs.get(FOLDER, ""), *trial.user_attrs.get(RUNS, [])]
            if not whole or not all(isinstance(name, str) for name in names):
                raise ValueError(f"trial {trial.number} is damaged")

    def _search(self, study: Study) -> None:
        """Bring the trials to their end that an earlier command began here, and the search that it was in; else begin
        another, or none where a complete one is resumed."""
        left = self._left(study)
        _fail(study, [trial for trial in left if not self._is_whole(trial)])  # of which it is not known what to train
        left = [trial for trial in left if self._is_whole(trial)]
        wanted, done = study.user_attrs.get(WANTED, 0), _finished(study)
        if not left and done >= wanted:
            wanted = done if beginning.resuming and done else done + self.n_trials
            study.set_user_attr(WANTED, wanted)
            if wanted == done:  # a complete search is shown again
                beginning.ended[self.folder] = list(find([self.folder]).values())
        while left or done < wanted:
            trials = left or self._ask(study, min(self.n_jobs, wanted - done))
            if not self._train(study, trials):
                say(f"{done} of the search's {counted(wanted, 'trial')} have ended")
                return
            left, done = [], _finished(study)

    def _ask(self, study: Study, count: int) -> list[FrozenTrial]:
        """So many points more, noted with where they are trained."""
        study.sampler = _sampler(self.sampler, [self.seed, len(study.get_trials(deepcopy=False))], self.n_jobs)
        asked = [study.ask(self.space.distributions) for _ in range(count)]
        for trial in asked:
            trial.set_user_attr(FOLDER, str(self.folder))
        trials = study.get_trials(deepcopy=False)
        return [trials[trial.number] for trial in asked]

    def _train(self, study: Study, trials: Sequence[FrozenTrial]) -> bool:
        """Train what the trials lack, equal points once, and tell of each; false where time was over before."""
        own = {trial.number: [tuple(job) for job in self.space.jobs(trial.params)] for trial in trials}
        new = list(dict.fromkeys(job for jobs in own.values() for job in jobs if job not in self.came))
        returned = self.launch(list(map(list, new)), initial_job_idx=len(self.came)) if new else []
        if len(returned) < len(new):
            return False
        for job, each in zip(new, returned, strict=True):
            folder = Path(each.working_dir or "")
            self.came[job] = values = _values(each)
            self.runs[job] = os.path.relpath(folder, self.folder)
            self.without += values is None and summary_of(folder)["status"] in ("finished", "stopped_early")
        for trial in trials:
            number, jobs = trial.number, own[trial.number]
            Trial(study, trial._trial_id).set_user_attr(RUNS, [self.runs[job] for job in jobs])
            runs = [values for job in jobs if (values := self.came[job]) is not None]
            if len(runs) < len(jobs):
                study.tell(number, state=TrialState.FAIL)  # a run that failed says nothing of its values
            else:
                study.tell(number, [fsum(values) / len(runs) for values in zip(*runs, strict=True)])
        return True

    def _is_whole(self, trial: FrozenTrial) -> bool:
        """Whether all of its point was noted before the command that asked for it was ended."""
        return trial.params.keys() == self.space.axes.keys()

    def _left(self, study: Study) -> list[FrozenTrial]:
        """The trials that a command which was ended left in the sweep's folder."""
        trials, own = study.get_trials(deepcopy=False), str(self.folder)
        return [trial for trial in trials if not trial.state.is_finished() and trial.user_attrs.get(FOLDER) == own]

    def _found(self, study: Study) -> dict[str, Any]:
        trials = [trial for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()]
        counts = Counter(map(_ending, trials))
        single = len(self.objectives) == 1
        found: dict[str, Any] = {"name": "optuna", "study": self.name, "sampler": self.sampler}
        found |= {
            "objective": self.objectives[0] if single else self.objectives,
            "direction": self.directions[0] if single else self.directions,
            "trials": dict(counts),
        }
        if not single:
            best = [trial for trial in study.best_trials if _ending(trial) == "complete"]
            found["best_trials"] = [
                {
                    "trial": trial.number,
                    "values": trial.values,
                    "params": self.space.told(trial.params),
                    "runs": self._runs(trial),
                }
                for trial in best
            ]
        elif counts["complete"] or counts["diverged"]:
            one = study.best_trial
            found |= {"best_trial": one.number, "best_runs": self._runs(one)}
            found |= {"best_value": one.value, "best_params": self.space.told(one.params)}
        return found

    def _runs(self, trial: FrozenTrial) -> list[str]:
        """The folders of its runs in the sweep's; of another sweep in the same study, from the root."""
        own, runs = Path(trial.user_attrs.get(FOLDER, "")), trial.user_attrs.get(RUNS, [])
        return runs if own == self.folder else [str(own / run) for run in runs]


def _directions(objectives: Sequence[str], directions: Sequence[str] | None) -> list[str]:
    """What is better of each objective. Raises ConfigError unless there is a direction for each."""
    if directions is None:
        return ["maximize" if maximised(name) else "minimize" for name in objectives]
    if len(directions) != len(objectives) or not set(directions) <= set(DIRECTIONS):
        raise ConfigError(
            f"hydra.sweeper.direction=[{','.join(directions)}]: one for each objective ({', '.join(objectives)}), "
            f"{' or '.join(DIRECTIONS)}"
        )
    return list(directions)


def _sampler(name: str, entropy: Sequence[int], batch: int) -> BaseSampler:
    """entropy: numbers of which the sampler's seed is made. batch: points in it."""
    seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
    if name == "gp":
        return GPSampler(seed=seed)
    if name == "nsgaii":
        return NSGAIISampler(seed=seed, population_size=batch)
    return RandomSampler(seed=seed) if name == "random" else TPESampler(seed=seed)


def _opened(storage: str) -> Any:
    """Optuna's storage at this address. Raises ConfigError where there can be none."""
    try:
        return optuna.storages.RDBStorage(storage)
    except Exception as problem:  # SQLAlchemy's, of which there are many
        reason = str(problem).splitlines()[0]
        raise ConfigError(f"hydra.sweeper.storage={storage}: no study can be kept there: {reason}") from problem


def _values(returned: JobReturn) -> list[float] | None:
    """What a run came to, of each objective."""
    value = returned.return_value
    return value if value is None or isinstance(value, list) else [value]


def _fail(study: Study, trials: Sequence[FrozenTrial]) -> None:
    for trial in trials:
        study.tell(trial.number, state=TrialState.FAIL)


def _finished(study: Study) -> int:
    return sum(trial.state.is_finished() for trial in study.get_trials(deepcopy=False))


def _ending(trial: FrozenTrial) -> str:
    """How Optuna saw a trial end; one that diverged is complete to it, with the worst values."""
    return "diverged" if trial.values is not None and any(map(isinf, trial.values)) else str(trial.state.name.lower())
