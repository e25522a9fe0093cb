"""A large table: what the first start takes, which reads it, and every other one; steps beside those from memory."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

ROWS, COLUMNS, CHUNK = 2_000_000, 100, 100_000
STEPS = 20_000  #: nearly an epoch
#: the same command with all tables in memory
IN_MEMORY = """
import sys
import dlrun.datasets.table
from dlrun.command.cli import main
dlrun.datasets.table.LARGE = sys.maxsize
sys.exit(main())
"""


def write(file: Path) -> None:
    """Normal numbers in float32, and two classes that a plane parts."""
    import numpy as np
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    rng, normal = np.random.default_rng(0), np.random.default_rng(1).standard_normal(COLUMNS)
    names = [f"x{i}" for i in range(COLUMNS)]
    schema = pa.schema([*((name, pa.float32()) for name in names), ("y", pa.int64())])
    with ParquetWriter(file, schema) as writer:
        for _ in range(ROWS // CHUNK):
            x = rng.standard_normal((COLUMNS, CHUNK), np.float32)
            writer.write_table(pa.table([*x, (normal @ x > 0).astype(np.int64)], schema=schema))


def measured(dlrun: str, file: Path, folder: Path) -> dict[str, dict[str, float]]:
    """Of the first and a second start, seconds of CPU time and the most MiB that lie in no file; steps per second."""
    words = ["dataset=table", f"dataset.path={file}", "architecture.hidden=[32]", "batch_size=64", "lr=1e-3"]
    words += ["threads=1", "plots=none"]
    environment = {**os.environ, "DLRUN_DATA": str(folder / "cache")}
    ways = {
        "the first start": [dlrun],
        "another start": [dlrun],
        "another, in memory": [sys.executable, "-c", IN_MEMORY],
    }
    found: dict[str, dict[str, float]] = {}
    for number, (way, command) in enumerate(ways.items()):
        if command[0] != dlrun:
            environment["DLRUN_DATA"] = str(folder / "empty")
        for steps in (1, STEPS):
            run = folder / f"{number}-{steps}"
            whole = [*command, *words, f"steps={steps}", f"eval_every={steps}", f"hydra.run.dir={run}"]
            seconds, memory = _run(whole, environment)
            if steps == 1:
                found[way] = {"s": seconds, "MiB": memory}
            else:
                found[way]["steps/s"] = STEPS / json.loads((run / "summary.json").read_text())["seconds"]
    del found["the first start"]["steps/s"]
    return found


def _run(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    process, most = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL), 0
    while process.poll() is None:
        time.sleep(0.02)
        told = Path(f"/proc/{process.pid}/status").read_text().partition("RssAnon:")[2]
        most = max(most, int(told.split()[0]) if told else 0)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, most / 1024
