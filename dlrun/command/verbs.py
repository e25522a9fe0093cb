"""What bare words ask for: claims, completion, diagnose, export, list, plot, predict, report, resume and status."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable
from datetime import datetime
from math import inf, nan
from pathlib import Path
from typing import Any, Literal, cast

from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from dlrun.command.mistakes import readable
from dlrun.command.start import train
from dlrun.config import typed
from dlrun.config.catalogue import choices, conf_dir, description, groups
from dlrun.config.explained import explained, options
from dlrun.config.explained import typed as typed_value
from dlrun.config.words import did_you_mean
from dlrun.errors import ConfigError
from dlrun.files.replacing import refuse_existing
from dlrun.folder.names import form_of, holds_run, shell_command
from dlrun.folder.reading import refuse_no_run
from dlrun.terminal.console import error, listing, say
from dlrun.terminal.exits import EXIT_CODES
from dlrun.terminal.formulas import readable as in_letters
from dlrun.terminal.signals import unconverted

FORMATS = {
    "onnx": "model.onnx",
    "torch": "model.pt2",
}  #: of `dlrun export`, with the name of the file in the run's folder


def run_verb(name: str, arguments: list[str]) -> int:
    """What this verb does with these arguments, and what is told of its mistakes; returns the exit code."""
    if {"--help", "-h"} & set(arguments):
        say(inspect.getdoc(VERBS[name]) or "")
        return 0
    options = re.findall(r"^--[\w-]+", inspect.getdoc(VERBS[name]) or "", re.MULTILINE)
    try:
        for option in (argument.partition("=")[0] for argument in arguments if argument.startswith("-")):
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
    single one, as optimizer/adam, its formulas, keys, defaults and papers.
    """
    known = [*groups(), "experiment"]
    chosen = [re.split("[/=]", word, maxsplit=1) for word in arguments] or [[group] for group in known]
    for group, *names in chosen:
        if group not in known:
            raise ConfigError(
                f"list {group}: there is no such group{did_you_mean(group, known)}; there are {', '.join(known)}"
            )
        for name in names:
            if name not in choices(group):
                near = did_you_mean(name, choices(group))
                raise ConfigError(f"list {group}/{name}: there is no such choice{near}; `dlrun list {group}` has all")
    for place, (group, *names) in enumerate(chosen):
        if names:
            say("\n" * bool(place) + f"{group}={names[0]}")
            _explain(group, names[0])
        else:
            say(f"{group}=")
            listing({name: description(conf_dir() / group / f"{name}.yaml") for name in choices(group)})
    return 0


def _explain(group: str, name: str) -> None:
    told = explained(group, name)
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


def _plot(arguments: list[str]) -> int:
    """dlrun plot FOLDER...
    dlrun plot schedule=NAME [KEY=VALUE...] [FOLDER]

    Draw the pictures of runs or sweeps again, from the CSV files in their folders,
    of the kind that their plot.format says;
    or the rates of a schedule, without training, as schedule.png in FOLDER or here.
    """
    if not arguments:
        raise ConfigError("plot: name the folders of one or more runs or sweeps, or schedule=NAME")
    words, folders = _told_apart(arguments)
    if words:
        return _plot_schedule(words, folders)
    from dlrun.plots.pictures import draw
    from dlrun.report.collect import config_of

    for folder in map(Path, folders):
        if holds_run(folder):
            pictures = draw(folder, form_of(config_of(folder)))
        else:
            from dlrun.report.report import redraw

            pictures = redraw(folder)
        for picture in pictures:
            say(str(picture))
    return 0


def _told_apart(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Overrides, and folders, whose names may hold = too."""
    words = [argument for argument in arguments if "=" in argument and not Path(argument).exists()]
    return words, [argument for argument in arguments if argument not in words]


def _plot_schedule(words: list[str], folders: list[str]) -> int:
    if not any(re.match(r"schedule[.=]", word) for word in words):
        raise ConfigError(f"plot {words[0]}: there is no such folder; schedule=NAME [KEY=VALUE...] draws a schedule")
    if len(folders) > 1:
        raise ConfigError(f"plot schedule: name one folder at most for the picture, not {' and '.join(folders)}")
    from dlrun.job.schedule import draw_schedule

    picture, note = draw_schedule(_composed(words), Path(*folders))
    if note:
        say(note)
    say(str(picture))
    return 0


def _composed(words: list[str]) -> DictConfig:
    """The config of these overrides; ConfigError for what is wrong with them."""
    from dlrun.config.composed import composed

    try:
        return composed(words)
    except (HydraException, OmegaConfBaseException) as mistake:
        raise ConfigError(readable(mistake)) from mistake


def _diagnose(arguments: list[str]) -> int:
    """dlrun diagnose FOLDER... 'diagnostics=[NAME,...]' [which=last] [KEY=VALUE...]

    Look into the networks of finished runs or sweeps, and add what is seen to their
    folders, without training; `dlrun list diagnostics` has what there is.

    which=last            at the last parameters in place of the best
    device=, threads=     as in a training
    diagnostics.NAME.KEY= sets a key; `dlrun list diagnostics/NAME` has them

    dlrun diagnose a 'diagnostics=[landscape,confusion]' which=last
    dlrun diagnose a 'diagnostics=[interpolation]' diagnostics.interpolation.to=b
    """
    words, folders = _told_apart(arguments)
    which = [word.partition("=")[2] for word in words if word.startswith("which=")] or ["best"]
    if not folders or not any(word.startswith("diagnostics=") for word in words):
        looks = ",".join(each for each in folders if each in choices("diagnostics") and not Path(each).exists())
        raise ConfigError(
            f"diagnose: name the folders of runs or sweeps, and 'diagnostics=[{looks or 'NAME,...'}]'; `dlrun list "
            "diagnostics` has what there is"
        )
    if which[-1] not in ("best", "last"):
        raise ConfigError(f"which={which[-1]}: must be best or last{did_you_mean(which[-1], ['best', 'last'])}")
    asked = [word for word in words if not word.startswith("which=")]
    for word in asked:
        if not re.match(r"\+?(diagnostics[.=]|device=|threads=|allow_targets=)", word):
            raise ConfigError(
                f"diagnose {word}: a finished run has its config; what counts is diagnostics, device, threads"
            )
    from dlrun.job.diagnose import diagnose
    from dlrun.report.collect import find

    config = _composed(asked)
    runs = list(find(folders).values())
    whole = diagnose(runs, config, which[-1])
    from dlrun.plots.pictures import draw_diagnostics
    from dlrun.report.collect import config_of

    for run in runs:
        for picture in draw_diagnostics(run, list(config.diagnostics), form_of(config_of(run))):
            say(str(picture))
    return 0 if whole else 1


def _report(arguments: list[str]) -> int:
    """dlrun report FOLDER... [--metric NAME] [--margin X] [--target NAME=VALUE]

    The tables, statistics and pictures of sweeps or runs, on the terminal and as
    report.html, from the files in their folders.

    --metric NAME         what settings are compared by: accuracy, loss, ...
    --margin X            what a difference of it must exceed to matter: settings
                          that differ by less are called equivalent
    --target NAME=VALUE   adds how soon a column reaches a value: val_accuracy=0.95
    """
    folders, options = _options("report", arguments, "--target", "--metric", "--margin")
    if not folders:
        raise ConfigError("report: name the folders of one or more sweeps or runs")
    column, _, value = options["--target"].partition("=")
    try:
        target = (column, float(value)) if column else None
    except ValueError:
        raise ConfigError(f"--target {column}={value}: give a column and a number, as val_accuracy=0.97") from None
    margin = _margin(options["--margin"]) if options["--margin"] else None
    from dlrun.report.report import report

    report(folders, target=target, metric=options["--metric"] or None, margin=margin)
    return 0


def _options(verb: str, arguments: list[str], *names: str) -> tuple[list[str], dict[str, str]]:
    """The arguments that are no options, and the value of each of these, "" where it is not given."""
    rest, options = [], dict.fromkeys(names, "")
    left = iter(arguments)
    for argument in left:
        option, _, value = argument.partition("=")
        if option in options:
            options[option] = value or next(left, "")
            if not options[option]:
                raise ConfigError(f"{verb} {option}: give a value after it")
        else:
            rest.append(argument)
    return rest, options


def _margin(text: str) -> float:
    try:
        margin = float(text)
    except ValueError:
        margin = nan
    if not 0 < margin < inf:
        raise ConfigError(f"--margin {text}: give a number above 0, in the metric's unit, as --margin 0.01")
    return margin


def _predict(arguments: list[str]) -> int:
    """dlrun predict FOLDER FILE --output predictions.csv [which=last]

    What a run's network predicts of the rows of a table, or of an image or a folder
    of images, encoded as those that it was trained on.

    --output FILE           gets a row for each, and must not be there yet
    which=last              by the last parameters in place of the best
    allow_targets=[NAME]    packages of your own that the network is made of
    """
    words, options = _options("predict", arguments, "--output")
    places, which = _places("predict", words)
    if len(places) != 2:
        raise ConfigError("predict: name the folder of a run, and one file with new rows, or one folder of images")
    if not options["--output"]:
        raise ConfigError("predict: say where the predictions go: --output predictions.csv")
    output = Path(options["--output"])
    refuse_existing(output)
    from dlrun.loading.run import LoadedRun
    from dlrun.report.cells import cell_of, write_csv

    found = LoadedRun(places[0], which).predict(places[1])
    header = list(map(str, found.columns))
    write_csv(output, header, [dict(zip(header, map(cell_of, row), strict=True)) for row in found.values.tolist()])
    say(f"{output}: {len(found):,} rows of {', '.join(header[:4])}{', ...' * (len(header) > 4)}")
    return 0


def _export(arguments: list[str]) -> int:
    """dlrun export FOLDER --format onnx|torch [--output FILE] [which=last]

    A run's network as one file for ONNX Runtime, or for torch.export.load: raw
    numbers in, probabilities or numbers in their own unit out.

    --format onnx|torch     the kind of file
    --output FILE           in place of model.onnx or model.pt2 in FOLDER
    which=last              the last parameters in place of the best
    allow_targets=[NAME]    packages of your own that the network is made of
    """
    words, options = _options("export", arguments, "--format", "--output")
    places, which = _places("export", words)
    form = options["--format"]
    if len(places) != 1:
        raise ConfigError("export: name the folder of one run")
    if form not in FORMATS:
        raise ConfigError(f"export --format {form or '...'}: must be onnx or torch{did_you_mean(form, list(FORMATS))}")
    file = Path(options["--output"] or Path(places[0]) / FORMATS[form])
    refuse_existing(file)
    from dlrun.loading.export import export
    from dlrun.loading.run import LoadedRun

    told = export(LoadedRun(places[0], which), form, file)
    for way in ("input", "output"):
        say(f"{way}: {' x '.join(map(str, told[way]['shape']))} numbers")
    say(str(file))
    return 0


def _places(verb: str, arguments: list[str]) -> tuple[list[str], Literal["best", "last"]]:
    """The words that do not say how a run is loaded, of which the first is its folder; and which parameters count."""
    words, places = _told_apart(arguments)
    which = "best"
    for word in words:
        key, _, value = word.partition("=")
        if key not in ("which", "allow_targets"):
            raise ConfigError(f"{verb} {word}: a finished run has its config; what counts is which, and allow_targets")
        which = value if key == "which" else which
    if which not in ("best", "last"):
        raise ConfigError(f"which={which}: must be best or last{did_you_mean(which, ['best', 'last'])}")
    for place in places[:1]:
        refuse_no_run(Path(place))
    return places, cast(Any, which)


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
    options = [f"hydra.sweep.dir={quoted(folders[0])}"]
    typed.add(*options)
    code = 0
    for command in commands(Path(folders[0])):
        refuse_command(Path(folders[0]) / PLAN, [override for override in command if override not in trusted])
        launchers = [each for each in command if each.startswith("hydra/launcher=")]
        own = not launchers or launchers[-1].startswith("hydra/launcher=stack")
        again = [f"hydra.{'launcher' if own else 'sweeper'}.retry_failed=true"] * ("--retry-failed" in arguments)
        places = [argument for argument in trusted if argument.startswith("--config-dir=")]
        sys.argv = [sys.argv[0], "-m", *places, *command, *options, *again]
        code = max(code, train(VERBS, resuming=True))
    return code


VERBS: dict[str, Callable[[list[str]], int]] = {
    "claims": _claims,
    "completion": _completion,
    "diagnose": _diagnose,
    "export": _export,
    "list": _list,
    "plot": _plot,
    "predict": _predict,
    "report": _report,
    "resume": _resume,
    "status": _status,
}
