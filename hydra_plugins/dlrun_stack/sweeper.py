"""Hydra's `hydra/sweeper=dlrun`: combinations, pairs and lists of settings, all checked before the first run."""

import re
from collections import Counter
from collections.abc import Sequence
from copy import deepcopy
from inspect import signature
from itertools import chain, pairwise, product
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.errors import HydraException
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from dlrun.config.escapes import escaped, quoted
from dlrun.config.options import UNTIL, UNTIL_DECIDED, estimating
from dlrun.config.typed import add
from dlrun.config.words import did_you_mean
from dlrun.errors import ConfigError

DRAWN = ""  # in place of a key, the direction of all keys that are drawn
Points = list[list[str]]  # of one direction of a sweep; each point is the overrides that it makes


class Sweeper(BasicSweeper):
    """Hydra's basic sweeper with `zip`, the keys that are swept side by side, and `settings`, a file with a list.

    Args:
        samples, seed: of the points that are drawn, see `dlrun.sweep.sampling`.
        trials, decades, trial_seeds: see `dlrun.sweep.tuning`.
        looks, margin: of seed=until_decided, see `dlrun.sweep.deciding`.
        max_time, prune, first_rung, eta, keep: for `dlrun.sweep.launch`, which finds them in the config.
        retry_failed: with a launcher that is not dlrun's, train failed runs again.
    """

    def __init__(
        self,
        max_batch_size: int | None,
        params: Any,
        samples: int = 0,  # as in the place of Hydra's own sweeper, which has none of these options
        seed: int = 0,
        trials: int = 0,
        decades: float = 2,
        trial_seeds: int = 3,
        looks: Sequence[int] = (5, 10, 20, 40),
        margin: float | None = None,
        max_time: float | str | None = None,
        prune: str | None = None,
        first_rung: float | str | None = None,
        eta: int = 4,
        keep: str = "folders",
        retry_failed: bool = False,
    ) -> None:
        super().__init__(max_batch_size=max_batch_size, params=params)
        self.samples, self.seed = samples, seed
        self.trials, self.decades, self.trial_seeds = trials, decades, trial_seeds
        self.looks, self.margin = list(looks), margin
        self.of_launches = {"max_time": max_time, "prune": prune}
        self.rungs = {"first_rung": first_rung, "eta": eta}
        self.retry_failed = retry_failed

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        from dlrun.sweep.other_launchers import recorded

        assert self.launcher is not None
        self.task_function = task_function
        self.launcher = recorded(self.launcher, hydra_context, config, self.retry_failed)

    def _needing(self, until_decided: bool) -> dict[str, tuple[Any, str, bool]]:
        """Options that say how another is meant: what each is, which other, and whether that is there."""
        pruning = {
            key: (value, "hydra.sweeper.prune=halving", self.of_launches["prune"] is not None)
            for key, value in self.rungs.items()
        }
        trials = {
            key: (value, "hydra.sweeper.trials=N", bool(self.trials))
            for key, value in (("decades", self.decades), ("trial_seeds", self.trial_seeds))
        }
        return pruning | trials | {"looks": (self.looks, UNTIL, until_decided)}

    def sweep(self, arguments: list[str]) -> Any:
        """Run the jobs; with trials, those of the trials first; with seed=until_decided, as many as it takes."""
        typed = [word for word in arguments if _of_seeds(word)]
        in_files = [word for word in self._parse_config() if _of_seeds(word)]
        seeds = typed or in_files  # which what is typed overrules
        until_decided, asked = (any(UNTIL_DECIDED in word for word in words) for words in (seeds, [*seeds, *in_files]))
        decides = UNTIL if until_decided else "hydra.sweeper.trials" if self.trials else ""
        for key in [key for key, value in self.of_launches.items() if value is not None and decides]:
            raise ConfigError(f"hydra.sweeper.{key}: {decides} needs all of its first runs whole; leave one out")
        if self.of_launches["prune"] and self.max_batch_size:
            raise ConfigError("hydra.sweeper.prune: it compares all runs, and max_batch_size parts them; leave one out")
        for key, (value, needs, there) in self._needing(asked).items():
            default = signature(Sweeper.__init__).parameters[key].default
            if not there and value != (list(default) if isinstance(default, tuple) else default):
                raise ConfigError(f"hydra.sweeper.{key}={value}: only with {needs}")
        if until_decided:
            return self._until_decided(arguments, seeds)
        if self.margin is not None:
            raise ConfigError(
                f"hydra.sweeper.margin={self.margin}: for {UNTIL}; a sweep's report takes it too: dlrun report FOLDER "
                f"--margin {self.margin}"
            )
        if not self.trials:
            return self._foreseen(arguments) if estimating() else super().sweep(arguments)
        from dlrun.folder.clearing import discard
        from dlrun.folder.names import PLAN
        from dlrun.sweep.compose import compose
        from dlrun.sweep.other_launchers import recorded
        from dlrun.sweep.plan import Plan
        from dlrun.sweep.tuning import FINAL, TUNING, tried, tuned

        assert self.config is not None and self.hydra_context is not None
        context, config = self.hydra_context, self.config
        plan = Plan(Path(config.hydra.sweep.dir).absolute(), retry_failed=False)
        overrides = OverridesParser.create(context.config_loader).parse_overrides([*self._parse_config(), *arguments])
        jobs = list(chain(*self.split_arguments(overrides, None)))

        def default_lr(job: list[str]) -> float:
            [composed] = compose(config, context.config_loader, [job], 0)
            return float(composed.config["optimizer"]["lr"])

        def launch(folder: str, jobs: Points) -> Sequence[JobReturn]:
            own = deepcopy(config)
            with read_write(own.hydra):
                place = f"{config.hydra.sweep.dir}/{folder}"
                own.hydra.sweep.dir = escaped(place)
                add(word := f"hydra.sweep.dir={quoted(place)}")
                own.hydra.overrides.hydra.append(word)  # for the jobs' configs
            launcher = Plugins.instance().instantiate_launcher(context, self.task_function, own)
            if not estimating():
                plan.save([], config)  # what resumes the sweep looks for its command there
            try:
                return recorded(launcher, context, own, self.retry_failed).launch(jobs, initial_job_idx=0)
            except (ConfigError, HydraException):
                if not estimating() and not (plan.folder / folder).exists():  # refused, and nothing begun
                    (plan.folder / PLAN).unlink()
                    discard(plan.folder)
                raise

        how = (jobs, default_lr, self.trials, self.decades, self.trial_seeds)
        if estimating():
            launch(TUNING, tried(*how)[2])
            launch(FINAL, [[*job, f"lr={default_lr([word for word in job if not _of_seeds(word)])}"] for job in jobs])
            return []
        return tuned(*how, launch)

    def _foreseen(self, arguments: list[str]) -> list[Sequence[JobReturn]]:
        """Have the launcher tell what it would train."""
        assert self.hydra_context is not None and self.launcher is not None
        parser = OverridesParser.create(self.hydra_context.config_loader)
        begun = 0
        for batch in self.split_arguments(
            parser.parse_overrides([*self._parse_config(), *arguments]), self.max_batch_size
        ):
            self.launcher.launch(batch, initial_job_idx=begun)
            begun += len(batch)
        return []

    def _until_decided(self, arguments: list[str], seeds: list[str]) -> list[Sequence[JobReturn]]:
        """seeds: the overrides of the seed."""
        from dlrun.report.judging import Looks
        from dlrun.sweep.plan import Plan

        assert self.config is not None and self.hydra_context is not None and self.launcher is not None
        launcher, config = self.launcher, self.config
        parser = OverridesParser.create(self.hydra_context.config_loader)
        overrides = parser.parse_overrides([*self._parse_config(), *arguments])
        if [word.lstrip("+") for word in seeds] != [UNTIL]:
            told = " ".join(seeds)
            raise ConfigError(f"{told}: {UNTIL} finds the seeds; give it alone, or a list of seeds in its place")
        if self.trials:
            raise ConfigError(f"{UNTIL}: hydra.sweeper.trials wants to know the seeds; leave one of the two out")
        if not self.looks or any(a >= b for a, b in pairwise(self.looks)):
            told = ",".join(map(str, self.looks))
            raise ConfigError(f"hydra.sweeper.looks=[{told}]: numbers of seeds, each more than the last, as [5,10,20]")
        others = [each for each in overrides if not _of_seeds(each)]
        settings = [list(chain(*points)) for points in product(*directions(others, self.samples, self.seed))]
        if len(settings) < 2:
            raise ConfigError(f"{UNTIL}: it compares settings, and there is one: give another key several values")
        from dlrun.sweep.deciding import until_decided
        from dlrun.terminal.console import say

        looks, folder = Looks(tuple(self.looks), self.margin or 0.0), Path(config.hydra.sweep.dir).absolute()
        with open_dict(config), read_write(config.hydra):  # for what the launcher makes of them: the plan has them
            config.seed = UNTIL_DECIDED
            options = {**config.hydra.sweeper, "looks": self.looks, "margin": self.margin}  # Hydra's own has none
            config.hydra.sweeper = OmegaConf.create(options)
        begun = 0

        def launch(jobs: Points) -> Sequence[JobReturn]:
            nonlocal begun
            returned: list[JobReturn] = []
            for batch in map(list, self.split_overrides_to_chunks(jobs, self.max_batch_size)):
                returned += launcher.launch(batch, initial_job_idx=begun)
                begun += len(batch)
            if not estimating():
                Plan(folder, self.retry_failed).save([], config)  # of runs that were there, the launcher writes none
            return returned

        if estimating():
            first, *_, most = [len(settings) * look for look in (looks.seeds[0], *looks.seeds)]
            say(
                f"{first} runs up to the first look, of which the plan tells; {most} at the most, if all stay undecided"
            )
            return [launch([[*setting, f"seed={seed}"] for setting in settings for seed in range(looks.seeds[0])])]
        return until_decided(settings, looks, folder, launch)

    # What is static in the basic sweeper asks here for the sweep's config.
    def split_arguments(self, overrides: list[Override], max_batch_size: int | None) -> list[Points]:  # type: ignore[override]
        """The jobs, in batches. Raises ConfigError, with nothing written yet, for any mistake in any job."""
        from dlrun.sweep.compose import check_jobs, compose

        jobs = [list(chain(*points)) for points in product(*directions(overrides, self.samples, self.seed))]
        assert self.config is not None and self.hydra_context is not None
        if self.samples:
            from dlrun.sweep.sampling import check_ends

            check_ends(self.config, self.hydra_context.config_loader, jobs[0], overrides)
        check_jobs(compose(self.config, self.hydra_context.config_loader, jobs, 0))
        return list(self.split_overrides_to_chunks(jobs, max_batch_size))

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Nothing more: `split_arguments` has composed and checked every batch."""


def _of_seeds(override: Override | str) -> bool:
    key = override.get_key_element() if isinstance(override, Override) else override.partition("=")[0]
    return key.lstrip("+") == "seed"


def directions(overrides: list[Override], samples: int = 0, seed: int = 0) -> list[Points]:
    """What a sweep combines: each swept key, each group of zipped keys, the list of settings, and the points that are
    drawn, of all keys with distributions together.

    Raises ConfigError for zipped keys that are not swept or not of one length, for a file that is no such list, and for
    distributions without samples, samples without distributions, and a range in which nothing can be drawn.
    """
    from dlrun.sweep.sampling import draw, is_drawn, points_of, refuse_nested

    last = {override.get_key_element(): override for override in overrides}
    groups = _groups(last.pop("zip").value()) if "zip" in last else []
    for each in overrides:
        refuse_nested(each)
    drawn = [key for key, override in last.items() if samples and is_drawn(override)]
    if samples and not drawn:
        raise ConfigError(
            f"hydra.sweeper.samples={samples}: no key has a distribution to draw from, as in lr='loguniform(1e-5,1)', "
            "uniform(0,1), randint(1,8) or choice(sgd,adam)"
        )
    points: dict[str, Points] = {}
    for key, override in last.items():
        if key == "settings":
            if override.value() is not None:
                points[key] = _settings(override.value(), list(last))
        elif key in drawn:
            points.setdefault(DRAWN, [])  # where the first of them is typed, which all go with
        elif override.is_interval_sweep():
            raise ConfigError(
                f"{override.input_line}: numbers are drawn from a range where the command says how many, "
                f"hydra.sweeper.samples=64, or by hydra/sweeper=optuna; to train values of your own: {key}=A,B,C"
            )
        else:
            points[key] = points_of(override)
    if drawn:
        points[DRAWN] = draw([last[key] for key in drawn], samples, seed)
    swept = {key.lstrip("+"): key for key, override in last.items() if override.is_sweep_override()}
    for name, times in Counter(chain(*groups)).items():
        if swept.get(name.lstrip("+")) in drawn:
            raise ConfigError(f"zip: {name} is drawn, together with all that are; leave it out of zip")
        if name.lstrip("+") not in swept:
            near = did_you_mean(name, list(swept)) or "; give it as many values as the keys it goes with"
            raise ConfigError(f"zip: {name} is not swept{near}")
        if times > 1:
            raise ConfigError(f"zip: {name} is named twice; a key goes with those of one group")
    for group in groups:
        keys = [swept[name.lstrip("+")] for name in group]
        if len({len(points[key]) for key in keys}) > 1:
            counts = ", ".join(f"{key} has {len(points[key])}" for key in keys)
            raise ConfigError(f"zip: {counts} values; keys that are zipped need as many each")
        points[keys[0]] = [list(chain(*side)) for side in zip(*(points[key] for key in keys), strict=True)]
        for key in keys[1:]:
            del points[key]
    return list(points.values())


def _groups(value: Any) -> list[list[str]]:
    """The groups of keys in `zip=[lr,batch_size]` or `zip=[[lr,batch_size],[optimizer,schedule]]`."""
    if value is None:
        return []
    groups = value if isinstance(value, list) and all(isinstance(each, list) for each in value) else [value]
    if not all(isinstance(group, list) and all(isinstance(key, str) for key in group) for group in groups):
        raise ConfigError("zip: write zip=[lr,batch_size], or for two pairs zip=[[lr,batch_size],[optimizer,schedule]]")
    return [group for group in groups if group]


def _settings(path: Any, given: list[str]) -> Points:
    """The settings of a YAML file, keys as on the command line: `- {optimizer: sgd, optimizer.momentum: 0.9}`."""
    if not isinstance(path, str):
        raise ConfigError("settings: name one file, a YAML list of settings")
    from dlrun.config.loader import readable, refuse_keys

    try:
        with readable(Path(path)):
            content: Any = OmegaConf.to_container(OmegaConf.load(path))  # reads numbers as in configs: 1e-3 is one
    except (ConfigError, OmegaConfBaseException) as problem:
        raise ConfigError(f"settings={path}: {' '.join(str(problem).split())}") from problem
    if not content or not isinstance(content, list) or not all(isinstance(setting, dict) for setting in content):
        raise ConfigError(f"settings={path}: must hold a list of settings, lines such as - {{lr: 0.1, epochs: 5}}")
    refuse_keys(f"settings={path}", chain(*content))
    for key in dict.fromkeys(chain(*content)):
        if key in given:
            raise ConfigError(f"settings={path}: {key} is in the file and in the command; leave it out of one of them")
    return [[f"{key}={typed(value)}" for key, value in setting.items()] for setting in content]


def typed(value: Any) -> str:
    """A value as one would type it."""
    if isinstance(value, list):
        return f"[{','.join(typed(each) for each in value)}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{typed(key)}:{typed(below)}' for key, below in value.items())}}}"
    if isinstance(value, str):
        word = re.fullmatch(r"[A-Za-z_][\w./-]*", value, re.ASCII)
        bare = word and value.lower() not in ("true", "false", "null", "nan", "inf")
        return value if bare else QuotedString(value, Quote.single).with_quotes()
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
