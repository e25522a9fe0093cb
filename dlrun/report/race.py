"""Which runs of a sweep descend the same surface of two parameters, by their folders."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dlrun.errors import ConfigError
from dlrun.folder.names import surface_of, table_of
from dlrun.folder.reading import read_table
from dlrun.plots.diagnostics.race import Racer
from dlrun.report.collect import config_of
from dlrun.report.findings import Findings

PROBLEM = ("dataset", "architecture", "loss", "regularizer", "normalization")  #: the choices that make the surface
COORDINATES = ("theta_0", "theta_1")  #: of paths over a surface of two parameters
START = "start"  #: the key of a test function that does not


def racers(found: Findings, runs: Mapping[str, Path], labels: Mapping[str, str]) -> dict[str, Racer]:
    """By label, the first run of each setting that has a path on the surface that most settings descend.

    None where that is a single one. labels: by setting, the best first.
    """
    problems: dict[str, dict[str, Racer]] = {}
    first = found.table.drop_duplicates("setting").set_index("setting")["run"]
    for setting, label in labels.items():
        folder = runs[first[setting]]
        try:
            racer = Racer(read_table(folder, table_of("trajectory")), read_table(folder, surface_of("trajectory")))
            problem = repr([_without_start(config_of(folder).get(group)) for group in PROBLEM])
        except (ConfigError, OSError):  # it has none, or was left before its end
            continue
        if {*COORDINATES, "objective", "step"} <= {*racer.path.columns} and len(racer.path):
            problems.setdefault(problem, {})[label] = racer
    most = max(problems.values(), key=len, default={})
    return most if len(most) > 1 else {}


def _without_start(node: Any) -> Any:
    return {key: value for key, value in node.items() if key != START} if isinstance(node, dict) else node
