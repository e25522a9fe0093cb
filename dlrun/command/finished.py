"""Verbs that take the folders of finished runs: diagnose, export, plot, predict and report."""

from __future__ import annotations

import re
from math import inf, nan
from pathlib import Path
from typing import Any, Literal, cast

from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from dlrun.command.mistakes import readable
from dlrun.config.catalogue import choices
from dlrun.config.own import shortened
from dlrun.config.words import did_you_mean
from dlrun.errors import ConfigError
from dlrun.files.replacing import refuse_existing
from dlrun.folder.contents import refuse_packed
from dlrun.folder.names import form_of, holds_run
from dlrun.folder.reading import refuse_no_run
from dlrun.terminal.console import say

FORMATS = {
    "onnx": "model.onnx",
    "torch": "model.pt2",
}  #: of `dlrun export`, with the name of the file in the run's folder


def plot_verb(arguments: list[str]) -> int:
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
    from dlrun.report.collect import config_of, find

    find(folders)  # what holds no run is told before anything heavy is imported
    from dlrun.plots.pictures import draw

    for folder in map(Path, folders):
        refuse_packed(folder, "plot ")
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
    config = _composed(words)
    from dlrun.job.schedule import draw_schedule

    picture, note = draw_schedule(config, Path(*folders))
    if note:
        say(note)
    say(str(picture))
    return 0


def _composed(words: list[str]) -> DictConfig:
    """The config of these overrides; ConfigError for what is wrong with them."""
    from dlrun.config.composed import composed

    try:
        return composed(shortened(words))
    except (HydraException, OmegaConfBaseException) as mistake:
        raise ConfigError(readable(mistake)) from mistake


def diagnose_verb(arguments: list[str]) -> int:
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
    config = _composed(asked)
    from dlrun.report.collect import find

    runs = list(find(folders).values())
    from dlrun.job.diagnose import diagnose

    whole = diagnose(runs, config, which[-1])
    from dlrun.plots.pictures import draw_diagnostics
    from dlrun.report.collect import config_of

    for run in runs:
        for picture in draw_diagnostics(run, list(config.diagnostics), form_of(config_of(run))):
            say(str(picture))
    return 0 if whole else 1


def report_verb(arguments: list[str]) -> int:
    """dlrun report FOLDER... [--metric NAME] [--margin X] [--target NAME=VALUE]
                              [--objectives NAME,NAME...]

    The tables, statistics and pictures of sweeps or runs, on the terminal and as
    report.html, from the files in their folders.

    --metric NAME         what settings are compared by: accuracy, loss, ...
    --margin X            what a difference of it must exceed to matter: settings
                          that differ by less are called equivalent
    --target NAME=VALUE   adds how soon a column reaches a value: val_accuracy=0.95
    --objectives A,B      adds the front of these, the settings of which no other is
                          better in one and as good in all: best_val_loss,parameters
    """
    folders, options = options_of("report", arguments, "--target", "--metric", "--margin", "--objectives")
    if not folders:
        raise ConfigError("report: name the folders of one or more sweeps or runs")
    column, _, value = options["--target"].partition("=")
    try:
        target = (column, float(value)) if column else None
    except ValueError:
        raise ConfigError(f"--target {options['--target']}: give a column and a number, as val_accuracy=0.97") from None
    margin = _margin(options["--margin"]) if options["--margin"] else None
    objectives = options["--objectives"].split(",") if options["--objectives"] else []
    if objectives and (len(objectives) < 2 or len(set(objectives)) < len(objectives)):
        raise ConfigError(
            f"--objectives {options['--objectives']}: name two or more, each once: best_val_loss,parameters"
        )
    from dlrun.report.collect import find

    find(folders)  # what holds no run is told before anything heavy is imported
    from dlrun.report.report import report

    report(folders, target=target, metric=options["--metric"] or None, margin=margin, objectives=objectives)
    return 0


def options_of(verb: str, arguments: list[str], *names: str) -> tuple[list[str], dict[str, str]]:
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


def predict_verb(arguments: list[str]) -> int:
    """dlrun predict FOLDER FILE --output predictions.csv [which=last]

    What a run's network predicts of the rows of a table, or of an image or a folder
    of images, encoded as those that it was trained on.

    --output FILE           gets a row for each, and must not be there yet
    which=last              by the last parameters in place of the best
    allow_targets=[NAME]    packages of your own that the network is made of
    """
    words, options = options_of("predict", arguments, "--output")
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


def export_verb(arguments: list[str]) -> int:
    """dlrun export FOLDER --format onnx|torch [--output FILE] [which=last]

    A run's network as one file for ONNX Runtime, or for torch.export.load: raw
    numbers in, probabilities or numbers in their own unit out.

    --format onnx|torch     the kind of file
    --output FILE           in place of model.onnx or model.pt2 in FOLDER
    which=last              the last parameters in place of the best
    allow_targets=[NAME]    packages of your own that the network is made of
    """
    words, options = options_of("export", arguments, "--format", "--output")
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
