"""A newcomer's first session, in an empty folder: what is typed, one command after the other, and what comes of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from forked import forked

ROOT = Path(__file__).parent.parent
DLRUN = [sys.executable, "-c", "from dlrun.__main__ import main; main()"]  # as the installed script does


@pytest.mark.slow
def test_a_first_session_from_a_run_to_a_resumed_one(tmp_path: Path) -> None:
    surroundings = {**os.environ, "PYTHONPATH": str(ROOT)}

    def dlrun(command: str, code: int = 0) -> str:
        """What a command prints; of one that is to end with 2, its message."""
        told = forked(*command.split(), folder=tmp_path)
        assert told.returncode == code, told.stderr
        assert "Traceback" not in told.stderr and (code == 2 or told.stderr == "")
        return told.stderr if code == 2 else told.stdout

    readme = [*DLRUN, "hydra.run.dir=outputs/digits"]  # its first example, with all that it imports
    first = subprocess.run(readme, cwd=tmp_path, env=surroundings, capture_output=True, text=True, check=True)
    assert first.stdout.split()[-1] == str(tmp_path / "outputs" / "digits")
    summary = json.loads((tmp_path / "outputs" / "digits" / "summary.json").read_text())
    assert summary["status"] == "finished" and summary["test_accuracy"] > 0.95
    assert (tmp_path / "outputs" / "digits" / "curves.png").read_bytes().startswith(b"\x89PNG")

    assert "Kingma & Ba 2015" in dlrun("list optimizer/adam")
    assert "did you mean adam?" in dlrun("optimizer=adm", 2)

    sweep = "-m dataset=iris optimizer=sgd,adam seed=range(3) epochs=10 plots=none hydra.sweep.dir=outputs/rates"
    assert "6 runs: 6 finished" in dlrun(sweep)
    assert (tmp_path / "outputs" / "rates" / "report.html").stat().st_size > 10_000
    assert "Settings: accuracy" in dlrun("report outputs/rates")

    (tmp_path / "new.csv").write_text(
        "sepal length (cm),sepal width (cm),petal length (cm),petal width (cm)\n5.1,3.5,1.4,0.2\n6.3,2.9,5.6,1.8\n"
    )
    dlrun("predict outputs/rates/3 new.csv --output predictions.csv")
    rows = (tmp_path / "predictions.csv").read_text().splitlines()
    assert rows[0].startswith("prediction,probability_setosa") and rows[1].startswith("setosa,") and len(rows) == 3

    long = "dataset=iris steps=2000 eval_every=10 compile=false plots=none"
    begun = subprocess.Popen(
        [*DLRUN, *long.split(), "hydra.run.dir=outputs/long"], cwd=tmp_path, env=surroundings,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    table = tmp_path / "outputs" / "long" / "metrics.csv"
    until = time.monotonic() + 200
    while not (table.exists() and table.read_text().count("\n") > 5) and time.monotonic() < until:
        time.sleep(0.01)
    begun.send_signal(signal.SIGINT)
    told = begun.communicate(timeout=200)[1]
    assert begun.returncode == 130, told
    dlrun("resume outputs/long")
    steps = [int(row.split(",")[1]) for row in table.read_text().splitlines()[1:]]
    assert steps == sorted(set(steps)) and steps[-1] == 2000 and len(steps) == 1 + 2000 // 20
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.csv", "outputs", "predictions.csv"]
