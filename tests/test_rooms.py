"""The rooms that every command enters, also one that only helps or refuses, ask for no heavy library."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import dlrun

HEAVY = {"torch", "pandas", "sklearn", "scipy", "matplotlib", "rich.console", "PIL"}


@pytest.mark.parametrize("room", ["command", "config", "files", "folder", "terminal"])
def test_rooms_import_nothing_heavy(room: str) -> None:
    files = sorted((Path(dlrun.__file__).parent / room).glob("*.py"))
    modules = [f"dlrun.{room}.{file.stem}" for file in files if file.stem != "__init__"]
    code = f"import sys, {', '.join(modules)}; print(sorted({HEAVY!r} & set(sys.modules)))"
    assert modules
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"
