"""A command in a process of its own that is forked from the tests', which has imported torch and all else already."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from pathlib import Path
from subprocess import CompletedProcess
from tempfile import TemporaryDirectory

SECONDS = 300  #: until a command counts as hanging


def forked(*arguments: str, folder: Path) -> CompletedProcess[str]:
    """What `dlrun ARGUMENTS` in this folder ends with and prints; modules in PYTHONPATH are found."""
    import dlrun.job.run
    import dlrun.report.report
    import dlrun.sweep.launch  # noqa: F401 - what is forked need not import it

    with TemporaryDirectory() as place:
        printed = [Path(place, name) for name in ("stdout", "stderr")]
        process = multiprocessing.get_context("fork").Process(target=_command, args=(arguments, folder, printed))
        process.start()
        process.join(SECONDS)
        if process.exitcode is None:
            process.kill()
            raise AssertionError(f"dlrun {' '.join(arguments)}: no end after {SECONDS} seconds")
        return CompletedProcess(arguments, process.exitcode, *(file.read_text() for file in printed))


def _command(arguments: tuple[str, ...], folder: Path, printed: list[Path]) -> None:
    from dlrun.command.cli import main

    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, (name, file) in enumerate(zip(("stdout", "stderr"), printed, strict=True), start=1):
        with file.open("wb") as opened:
            os.dup2(opened.fileno(), number)
        setattr(sys, name, os.fdopen(number, "w", closefd=False))  # in place of pytest's
    os.chdir(folder)
    sys.path[:0] = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    sys.argv = ["dlrun", *arguments]
    main()
