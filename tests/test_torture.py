"""A short torture: commands that are killed, signalled and damaged end with the bytes of undisturbed ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parent.parent / "scripts" / "torture.py"


@pytest.mark.skipif(sys.platform != "linux", reason="forks, and looks for children in /proc")
@pytest.mark.parametrize("case", ["dropout", "sweep"])
def test_nothing_is_lost(case: str) -> None:
    command = [sys.executable, str(SCRIPT), "2", "--seed", "3", "--cases", case]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "0 lost, 0 mismatches" in ended.stdout.splitlines()[-1]
