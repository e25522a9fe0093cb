"""What is run once a run or a sweep has ended: a command that was typed, and never one that stands in a file."""

from __future__ import annotations

import os
import signal
import subprocess
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from dlrun.errors import ConfigError
from dlrun.folder.names import begun
from dlrun.terminal.console import error
from dlrun.terminal.exits import EXIT_CODES, statuses

KEY = "on_end"
PATIENCE = 60.0  #: seconds that the command may take
REFUSED = 2  #: the exit code of a command in which nothing has begun
TRAINING = ("claims", "resume")  #: verbs that train


def taken(arguments: Sequence[str], verbs: Sequence[str]) -> tuple[list[str], str]:
    """The words of the command line without on_end=COMMAND, which no config and no file gets to see; and the command.

    Raises ConfigError where it is empty, and where nothing is trained.
    """
    words = [word for word in arguments if not _is(word)]
    given = [word.partition("=")[2] for word in arguments if _is(word)]
    if not given:
        return list(arguments), ""
    if given[-1].strip() == "null":  # its default
        return words, ""
    if not given[-1].strip():
        raise ConfigError(f"{KEY}=: give a command, as {KEY}='echo $DLRUN_STATUS in $DLRUN_FOLDER'")
    if words and words[0] in verbs and words[0] not in TRAINING:
        raise ConfigError(f"{words[0]} {KEY}=...: nothing is trained here, after which a command could be run")
    return words, given[-1]


def _is(word: str) -> bool:
    return word.lstrip("+").startswith(f"{KEY}=")


def ended(command: str, folder: Path | None, code: int) -> None:
    """Have the shell run the command, with what came of it in DLRUN_FOLDER, DLRUN_STATUS and DLRUN_CODE.

    Not where nothing has begun. That it fails is told, and changes no exit code. folder: of the run or the sweep.
    """
    if code == REFUSED or folder is None or not begun(folder):
        return
    counts = Counter(status.replace("_", " ") for status in statuses if status != "undrawn")
    several = len(statuses) > 1
    status = ", ".join(f"{count} {name}" if several else name for name, count in counts.most_common())
    status = status or {0: "finished", EXIT_CODES["interrupted"]: "interrupted"}.get(code, "failed")
    told = {"FOLDER": str(folder.absolute()), "STATUS": status, "CODE": str(code)}
    environment = {**os.environ, **{f"DLRUN_{name}": value for name, value in told.items()}}
    try:
        process = subprocess.Popen(
            command, shell=True, env=environment, stdin=subprocess.DEVNULL, start_new_session=True
        )  # the user's own, in the user's own shell
        try:
            failed = process.wait(PATIENCE)
        except BaseException:
            with suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
    except subprocess.TimeoutExpired:
        error(f"{KEY}: {command}: it took more than {PATIENCE:.0f} s, and was ended")
    except OSError as problem:
        error(f"{KEY}: {command}: {problem.strerror}")
    else:
        if failed:
            error(f"{KEY}: {command}: it ended with {failed}")
