"""What only sweeps have, and what only single runs: Hydra's folders, launchers and sweepers, checked beforehand."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dlrun.config import typed as given
from dlrun.config.catalogue import Constraint, conf_dir, constraints, targets
from dlrun.config.check import Keys, leaves
from dlrun.errors import ConfigError

UNTIL_DECIDED = "until_decided"  #: a value of `seed`
UNTIL = f"seed={UNTIL_DECIDED}"  #: in a sweep's command: as many seeds as the comparisons take
ESTIMATE = "--plan"  #: dlrun's own option: what a command would train, and about how long, in place of training it
OWN = "hydra_plugins.dlrun_stack."  #: launchers and sweepers that look at a run's folder before it begins
BASIC = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"
#: options of others' launchers and sweepers whose ranges they do not check themselves
OF_OTHERS = {
    BASIC: {"max_batch_size": "null or int >= 1; runs that are handed to the launcher at a time"},
    "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher": {
        "n_jobs": "int >= 1 or int < 0; processes at a time; -1: one per core"
    },
}
#: how overrides begin that are for sweeps alone
FOR_SWEEPS = (
    UNTIL,
    "zip=",
    "settings=",
    "objective=",
    "hydra.sweep",
    "hydra.launcher.",
    "hydra/launcher=",
    "hydra/sweeper=",
)


def estimating() -> bool:
    """Whether nothing is to be trained, and written, but only told what would be."""
    return ESTIMATE in given.words


def check_single(hydra: DictConfig) -> None:
    """Raise ConfigError for what the command of a single run says of sweeps, of its folder or its log."""
    typed = [each for each in sys.argv[1:] if each.startswith(FOR_SWEEPS) and not each.endswith("=null")]
    if typed:
        raise ConfigError(f"{', '.join(typed)}: for sweeps alone, which begin with -m: dlrun -m {' '.join(typed)} ...")
    _refuse(hydra, "run", "dir")


def check_sweep(config: DictConfig) -> None:
    """Raise ConfigError, with a line for each mistake in what a sweep's command says of its folders and processes."""
    hydra = config.hydra
    problems = [problem for part in ("launcher", "sweeper") for problem in _wrong_options(part, hydra[part])]
    for typed in sys.argv[1:]:
        if typed.startswith("hydra.run.dir="):
            problems.append(f"{typed}: for single runs alone; the folder of a sweep is hydra.sweep.dir")
        optimises = hydra.sweeper._target_ not in (BASIC, f"{OWN}sweeper.Sweeper", f"{OWN}claims.Claims")
        if typed.startswith("objective="):
            problems += _wrong_objectives(typed, config.objective, optimises)
        if typed.startswith(UNTIL) and optimises:
            problems.append(f"{typed}: a search compares no settings; leave hydra/sweeper={_sweeper(hydra)} out")
    if problems:
        raise ConfigError("\n".join(problems))
    _refuse(hydra, "sweep", "dir", "subdir")


def _wrong_objectives(typed: str, objective: Any, optimises: bool) -> Iterator[str]:
    """What is wrong with objectives that are typed. objective: what Hydra reads of it. optimises: the sweeper does."""
    given = typed.removeprefix("objective=")
    names = [objective] if isinstance(objective, str) else list(objective or ())
    if given != "null" and objective is None:  # it would be swept, and one run has all of them
        yield f"{typed}: several objectives are a list in brackets: objective=[{given}]"
    elif given != "null" and (not names or len(set(names)) < len(names)):
        yield f"{typed}: name one objective, or several in brackets, each once: objective=[best_val_loss,parameters]"
    elif len(names) == 1 and not optimises:
        yield (
            f"{typed}: for a search alone, and nothing is searched for: add hydra/sweeper=optuna; a sweep has a front "
            "of several, objective=[best_val_loss,parameters]"
        )


def _sweeper(hydra: DictConfig) -> str:
    return str(hydra.runtime.choices["hydra/sweeper"])


def _wrong_options(part: str, node: DictConfig) -> Iterator[str]:
    values: Any = OmegaConf.to_container(node, resolve=True)
    target = values.pop("_target_")
    own = [file for file in sorted((conf_dir() / "hydra" / part).glob("*.yaml")) if target in targets(file)]
    known = {path: may_be for file in own for path, may_be in constraints(file).items()}
    known |= {(key,): Constraint.parse(text) for key, text in OF_OTHERS.get(target, {}).items()}
    keys = Keys(known, f"hydra.{part}.")
    for path, value in leaves(values):
        if (own or path in known) and (problem := keys.problem(path, value)):
            yield problem


def _refuse(hydra: DictConfig, mode: str, *folders: str) -> None:
    """Raise ConfigError for a folder without a name or with an impossible one, and a log that has no place."""
    content: Any = OmegaConf.to_container(hydra[mode], resolve=False)
    for key in folders:
        if content[key] == "":
            raise ConfigError(f"hydra.{mode}.{key}= is empty: give the folder a name, or leave it out")
    folder = Path(hydra[mode].dir).absolute()
    try:
        above = next(each for each in (folder, *folder.parents) if each.exists())
        for part in folder.relative_to(above).parts:
            (above / part).exists()  # raises for a name that is too long
    except OSError as problem:
        raise ConfigError(f"{problem.filename}: {problem.strerror}: choose another hydra.{mode}.dir or name") from None
    if not above.is_dir():
        raise ConfigError(f"hydra.{mode}.dir={folder}: {above} is no folder")
    logging: Any = OmegaConf.to_container(hydra.job_logging, resolve=False)
    if not all({"class", "()"} & set(handler) for handler in logging["handlers"].values()):
        raise ConfigError(
            f"hydra/job_logging={hydra.runtime.choices['hydra/job_logging']}: dlrun's log is a file, dlrun.log in the "
            "run's folder, and this has no file: leave hydra/job_logging out"
        )
