"""Verbs for what is kept: diff, note and rm."""

from __future__ import annotations

import os
import re
from pathlib import Path

from dlrun.command.finished import options_of
from dlrun.errors import ConfigError
from dlrun.folder.packs import place_of
from dlrun.terminal.console import counted, error, say

SHOWN = 20  #: runs that are named


def diff_verb(arguments: list[str]) -> int:
    """dlrun diff A B

    What two runs, or two sweeps, differ in: config, versions, data, and results,
    of sweeps setting by setting, with the interval of the difference.
    """
    if len(arguments) != 2:
        raise ConfigError("diff: name two folders, of two runs or of two sweeps")
    from dlrun.report.collect import find

    for folder in arguments:
        find([folder])  # what holds no run is told before anything heavy is imported
    from dlrun.report.differing import differ

    differ(Path(arguments[0]), Path(arguments[1]))
    return 0


def note_verb(arguments: list[str]) -> int:
    """dlrun note FOLDER... [TEXT] [--tag NAME] [--untag NAME]

    Add a note or tags to runs or sweeps, whether they have ended or not; those of
    runs are columns of sweep.csv. Without a text or a tag, show what there is.

    --tag NAME       adds a tag; several are joined by commas
    --untag NAME     takes one away
    """
    words, options = options_of("note", arguments, "--tag", "--untag")
    folders = [Path(word) for word in words if _is_folder(word)]
    texts = [word for word in words if not _is_folder(word)]
    for text in texts:
        if not text.strip():
            raise ConfigError("note: the text is empty")
        if folders and "/" in text and not re.search(r"\s", text) and _is_folder(os.path.dirname(text)):
            raise ConfigError(f"note: there is no folder {text}; a text that looks like one needs a blank")
    if not folders or len(texts) > 1:
        raise ConfigError(
            "note: name the folders of runs or sweeps, which must be there, and one text: "
            'dlrun note outputs/first "the seed was odd" --tag odd'
        )
    from dlrun.folder import notes
    from dlrun.report.collect import find
    from dlrun.sweep.noting import update_notes

    tags, without = ([part.strip() for part in options[key].split(",") if part] for key in ("--tag", "--untag"))
    notes.refuse("".join(texts), tags)
    for folder in folders:
        find([folder])
    for folder in folders:
        if texts or tags or without:
            there = notes.add(folder, "".join(texts), tags, without)
            update_notes(folder)
        else:
            there = notes.notes_of(folder)
        told = [*there.texts, *([f"tags: {', '.join(there.tags)}"] if there.tags else [])]
        say(f"{folder}: {'; '.join(told) or 'no note and no tag'}")
    return 0


def _is_folder(word: str) -> bool:
    try:
        return bool(word) and (Path(word).is_dir() or place_of(Path(word).absolute()) is not None)
    except OSError:  # no name of a file is as long
        return False


def unpack_verb(arguments: list[str]) -> int:
    """dlrun unpack FOLDER [RUN...]

    Give packed runs of a sweep (hydra.sweeper.keep=packed) their folders again,
    with the same files; without RUN all of them. Nothing is overwritten.

    dlrun unpack outputs/first 3 17
    """
    if not arguments:
        raise ConfigError("unpack: name the folder of a sweep, and runs in it: dlrun unpack FOLDER RUN")
    from dlrun.sweep.packing import unpack

    sweep = Path(arguments[0]).absolute()
    unpacked = unpack(sweep, arguments[1:])
    for run in unpacked[:SHOWN]:
        say(str(sweep / run), indent=2)
    if len(unpacked) > SHOWN:
        say(f"and {len(unpacked) - SHOWN:,} more", indent=2)
    say(f"{counted(len(unpacked), 'run')} unpacked")
    return 0


def rm_verb(arguments: list[str]) -> int:
    """dlrun rm FOLDER --where CONDITION [--dry-run]

    Remove the runs that a condition means from sweeps, or single ones: what dlrun
    made for them, and nothing else. What is at work is left alone.

    --where CONDITION   compares columns of sweep.csv with values; "x" in tags
    --dry-run           only say which runs these are

    dlrun rm outputs/first --where 'status=="failed"' --dry-run
    dlrun rm outputs/first --where 'test_accuracy<0.5 and not optimizer==sgd'
    """
    dry = "--dry-run" in arguments
    words, options = options_of("rm", [word for word in arguments if word != "--dry-run"], "--where")
    if sum(word.partition("=")[0] == "--where" for word in arguments) > 1:
        raise ConfigError("rm: give one --where, and join conditions by and, or: --where 'A and B'")
    if len(words) != 1 or not options["--where"]:
        raise ConfigError("rm: name one folder, and which runs: dlrun rm FOLDER --where 'status==\"failed\"'")
    from dlrun.sweep.removing import remove

    found = remove(Path(words[0]), options["--where"], dry)
    for line in found.unread:
        error(line)
    for run in found.runs if dry else found.runs[:SHOWN]:
        say(run, indent=2)
    if not dry and len(found.runs) > SHOWN:
        say(f"and {len(found.runs) - SHOWN:,} more", indent=2)
    size = f"{found.bytes / 1e6:,.1f} MB"
    say(f"{counted(len(found.runs), 'run')} {'would be removed' if dry else 'removed'}, {size}")
    for run, why in found.at_work.items():
        say(f"{run} was left alone: {why}", indent=2)
    if found.left:
        say(f"other files than dlrun's stay in {', '.join(found.left[:SHOWN])}", indent=2)
    if found.runs and not dry and found.sweeps:
        say("a sweep's tables are written again; `dlrun report` draws it again, `dlrun resume` trains what it lacks")
    return 0
