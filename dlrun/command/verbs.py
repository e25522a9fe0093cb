"""What bare words ask for: VERBS has them all, and here are those that are not about finished runs."""

from __future__ import annotations

import inspect
import re
import shlex
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from dlrun.command.finished import diagnose_verb, export_verb, plot_verb, predict_verb, report_verb
from dlrun.command.start import train
from dlrun.command.tidying import diff_verb, note_verb, rm_verb, unpack_verb
from dlrun.config import typed
from dlrun.config.catalogue import choices, conf_dir, description, groups
from dlrun.config.explained import explained, options
from dlrun.config.explained import typed as typed_value
from dlrun.config.own import explained_file
from dlrun.config.words import as_choice, as_meant, did_you_mean, then
from dlrun.errors import ConfigError
from dlrun.folder.names import shell_command
from dlrun.terminal.console import error, listing, say
from dlrun.terminal.exits import EXIT_CODES
from dlrun.terminal.formulas import readable as in_letters
from dlrun.terminal.signals import unconverted


def run_verb(name: str, arguments: list[str]) -> int:
    """What this verb does with these arguments, and what is told of its mistakes; returns the exit code."""
    if {"--help", "-h"} & set(arguments):
        say(inspect.getdoc(VERBS[name]) or "")
        return 0
    options = re.findall(r"^--[\w-]+", inspect.getdoc(VERBS[name]) or "", re.MULTILINE)
    try:
        for option in (argument.partition("=")[0] for argument in arguments if re.match("-(?![0-9.])", argument)):
            if option not in options:
                known = f"; there are {', '.join([*options, '--help'])}"
                raise ConfigError(f"{name} {option}: there is no such option{did_you_mean(option, options) or known}")
        with unconverted():
            code = VERBS[name](arguments)
        sys.stdout.flush()
        return code or int(name != "resume" and cast(Any, sys.stdout).lost)
    except ConfigError as mistake:
        error(str(mistake))
        return 2
    except OSError as problem:
        error(f"{problem.strerror or problem}: {problem.filename}")
        return 1
    except KeyboardInterrupt:
        error("interrupted")
        return EXIT_CODES["interrupted"]


def _list(arguments: list[str]) -> int:
    """dlrun list [GROUP...] [GROUP/NAME...]

    Every choice of every group, or of these, with what it is and its paper; of a
    single one, as optimizer/adam or a file of your own, optimizer/mine.py, its
    formulas, keys, defaults and papers.
    """
    known = [*groups(), "experiment"]
    chosen = [re.split("[/=]", word, maxsplit=1) for word in arguments] or [[group] for group in known]
    for group, *names in chosen:
        if group not in known:
            near = did_you_mean(group, known) or "".join(f"; {of}/{as_meant(group)} is one" for of in as_choice(group))
            told = then(f"list {group}: there is no such group{near}", f"there are {', '.join(known)}")
            raise ConfigError(told)
        for name in names:
            if typed.is_file(name) and group in groups():
                if not Path(typed.normal(name)).is_file():
                    raise ConfigError(f"list {group}/{name}: there is no file {typed.normal(name)}")
            elif name not in choices(group):
                near = did_you_mean(name, choices(group))
                told = f"list {group}/{name}: there is no such choice{near}"
                raise ConfigError(then(told, f"`dlrun list {group}` has all"))
    for place, (group, *names) in enumerate(chosen):
        if names:
            say("\n" * bool(place) + f"{group}={names[0]}")
            _explain(group, names[0])
        else:
            say(f"{group}=")
            listing({name: description(conf_dir() / group / f"{name}.yaml") for name in choices(group)})
    return 0


def _explain(group: str, name: str) -> None:
    told = explained_file(group, Path(typed.normal(name))) if typed.is_file(name) else explained(group, name)
    shared = {k: v for k, v in options(conf_dir() / "dlrun.yaml").items() if k.startswith(f"{group}.")}
    say(told.description)
    for paragraph in told.paragraphs:
        say(f"\n{in_letters(paragraph)}", indent=4 * paragraph.startswith("$$"))
    for title, keys in (("Keys", told.keys), (f"Keys of every {group}", shared)):
        if keys := {key: each for key, each in keys.items() if title == "Keys" or key not in told.keys}:
            say(f"\n{title}")
            listing(
                {
                    f"{key}={typed_value(default)}": f"{may_be.text}; {in_letters(told.meaning(key) or may_be.meaning)}"
                    for key, (default, may_be) in keys.items()
                }
            )
    if told.reference:
        say(f"\nReference: {in_letters(told.reference)}")


def _completion(arguments: list[str]) -> int:
    """dlrun completion bash|zsh|fish

    What has the shell complete verbs, choices, keys and their values by Tab: put
    the line for yours into the file that it reads at its start.

    eval "$(dlrun completion bash)"        ~/.bashrc
    eval "$(dlrun completion zsh)"         ~/.zshrc
    dlrun completion fish | source         ~/.config/fish/config.fish
    """
    from dlrun.command.completion import SCRIPTS

    named = "".join(did_you_mean(word, list(SCRIPTS)) for word in arguments[:1])  # with a shell it has been printed
    raise ConfigError(f"completion: name a shell, {', '.join(SCRIPTS)}{named}")


def _claims(arguments: list[str]) -> int:
    """dlrun claims [NAME...] [--list] [--large] [--again] [KEY=VALUE...]

    Train what shows whether the lectures' claims hold, all or these, and judge
    them, in outputs/claims/<date>; what is there already is not trained again.

    --list     all claims, a line on each, without training
    --large    by the lectures' own sizes, where a claim has smaller runs otherwise
    --again    on other seeds than the verdicts before, in a folder of their own
    """
    from dlrun.claims.claim import load, names

    options = {word for word in arguments if word.startswith("--")}
    words = [word for word in arguments if "=" in word]
    chosen = names([word for word in arguments if word not in options and word not in words])
    for word in words:
        if not re.match(r"hydra[./]launcher|hydra\.sweep\.dir=|device=|threads=", word):
            raise ConfigError(
                f"claims {word}: a claim has its runs; what counts is device, threads, "
                "hydra/launcher and hydra.sweep.dir"
            )
    if "--list" in options:
        listing({name: load(name).sentence for name in chosen})
        return 0
    large, again = "--large" in options, "--again" in options
    kind = "-large" * large + "-again" * again
    asked = [
        "hydra/sweeper=claims",
        f"hydra.sweeper.claims=[{','.join(chosen)}]",
        *(f"hydra.sweeper.{key}=true" for key, wanted in (("large", large), ("again", again)) if wanted),
        f"hydra.sweep.dir=outputs/claims/{datetime.now():%Y-%m-%d}{kind}",
        "hydra.sweep.subdir=${name}",
    ]
    typed.add(*asked)
    sys.argv = [sys.argv[0], "-m", *asked, *words]
    return train(VERBS)


def _status(arguments: list[str]) -> int:
    """dlrun status FOLDER

    How many of a sweep's runs are done, running, pending or failed, here or on a
    cluster.
    """
    if len(arguments) != 1:
        raise ConfigError("status: name the folder of one sweep")
    from dlrun.sweep.status import show

    show(Path(arguments[0]).absolute())
    return 0


def _resume(arguments: list[str]) -> int:
    """dlrun resume FOLDER [--retry-failed] [--config-dir=FOLDER]

    Go on with a run that was ended, or train what a sweep's folder lacks.

    --retry-failed        train failed runs of a sweep again, too
    --config-dir=FOLDER   where a launcher of your own is, as in the command
    """
    trusted = [argument for argument in arguments if "=" in argument]  # of the folder's commands, what may run code
    folders = [argument for argument in arguments if argument not in ("--retry-failed", *trusted)]
    if len(folders) != 1:
        raise ConfigError(
            "resume: name the folder of one run or sweep, --retry-failed to train failed runs again, and "
            "--config-dir=FOLDER for a launcher of your own"
        )
    from dlrun.config.escapes import quoted
    from dlrun.config.loader import refuse_command
    from dlrun.folder.names import PLAN
    from dlrun.sweep.plan import commands

    if not (Path(folders[0]) / PLAN).exists():
        from dlrun.folder.resume import command as of_run

        sweep = next((parent for parent in Path(folders[0]).absolute().parents if (parent / PLAN).exists()), None)
        if sweep:
            raise ConfigError(f"{folders[0]} is a run of a sweep: {shell_command('resume', sweep)}")
        made = of_run(Path(folders[0]))
        typed.add(*made)
        sys.argv = [sys.argv[0], *made, *trusted]
        return train(VERBS)
    planned = commands(Path(folders[0]))
    given = [word for command in planned for word in command]
    more_time = [word for word in trusted if word.startswith(("max_time=", "hydra.sweeper.max_time="))]
    if idle := [word for word in trusted if word not in [*given, *more_time] and not word.startswith("--")]:
        raise ConfigError(
            f"resume {' '.join(idle)}: a sweep goes on with the commands that it was given; further runs are those of "
            f"another command with hydra.sweep.dir={shlex.quote(folders[0])}"
        )
    options = [f"hydra.sweep.dir={quoted(folders[0])}"]
    typed.add(*options)
    code = 0
    for command in planned:
        refuse_command(Path(folders[0]) / PLAN, [override for override in command if override not in trusted])
        launchers = [each for each in command if each.startswith("hydra/launcher=")]
        own = not launchers or launchers[-1].startswith("hydra/launcher=stack")
        again = [f"hydra.{'launcher' if own else 'sweeper'}.retry_failed=true"] * ("--retry-failed" in arguments)
        places = [argument for argument in trusted if argument.startswith("--config-dir=")]
        sys.argv = [sys.argv[0], "-m", *places, *command, *options, *again, *more_time]
        code = max(code, train(VERBS, resuming=True))
    return code


VERBS: dict[str, Callable[[list[str]], int]] = {
    "claims": _claims,
    "completion": _completion,
    "diagnose": diagnose_verb,
    "diff": diff_verb,
    "export": export_verb,
    "list": _list,
    "note": note_verb,
    "plot": plot_verb,
    "predict": predict_verb,
    "report": report_verb,
    "resume": _resume,
    "rm": rm_verb,
    "status": _status,
    "unpack": unpack_verb,
}
