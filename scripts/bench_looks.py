"""What looking into networks costs beside training them: functions for `python scripts/bench.py diagnostics`, and what
it runs, WHAT CASE.

Each case is measured in a process of its own, on one thread, and each diagnostic in a copy of that process; time is the
processor's, which others on the machine take little of.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from bench_diagnostics import CASES as PRODUCTS
from bench_diagnostics import COMMON, apart

NETWORKS = {name: words for name, words in PRODUCTS.items() if "dataset=mnist" in words}
#: diagnostics that have nothing to see in these, and where they have
ELSEWHERE = {"decision_boundary": "MLP 2-100-100-2 on moons", "fit": "MLP 1-100-100-1 on a sine"}
CASES = {
    **NETWORKS,
    "MLP 2-100-100-2 on moons": ["dataset=moons", "dataset.samples=2000", "architecture.hidden=[100,100]"],
    "MLP 1-100-100-1 on a sine": ["dataset=sine", "dataset.samples=2000", "architecture.hidden=[100,100]"],
}
#: less than the default of all samples, or of so many, so that all is measured within minutes
LESS = {
    "interpolation": ["samples=500"],
    "landscape": ["samples=200"],
    "trajectory": ["samples=200"],
    "spectrum": ["samples=128", "vectors=2"],
}
#: left out: 100 lines through some thousand regions each take 13 minutes, longer than all the rest
LONG = {("LeNet's sizes on 28 x 28", "linear_regions")}
TOGETHER = ("activations", "gradients", "gradient_noise")
EVERY = {"every step": "1steps", "every 16th": "16steps"}
SECONDS = 1.0  #: in which a look is taken again, of which the median counts
TIMES = 20  #: that it is, at most


def together() -> dict[str, float]:
    """What `measure_together` prints of all networks."""
    return {name: ratio for case in NETWORKS for name, ratio in apart(Path(__file__), "together", case).items()}


def measure_together(case: str) -> dict[str, float]:
    """An epoch with activations, gradients and gradient_noise at 128 samples, at every step and at every 16th, over
    one without; recording, evaluation and tables included."""
    import torch

    from dlrun.training.build import build

    torch.set_num_threads(1)  # a copy of a process has no threads but one
    stack, seconds = build([_config(case)]), {}
    _epoch(stack, {})  # what comes once in a process is behind it
    for name, every in {"": "1steps", **EVERY}.items():
        keys = {"every": every, "samples": 128}
        words = [f"diagnostics.{each}.{key}={value}" for each in TOGETHER for key, value in keys.items()]
        chosen = build([_config(case, f"diagnostics=[{','.join(TOGETHER)}]", *words)]).diagnostics
        seconds[name] = _in_a_copy(lambda: _epoch(stack, chosen if name else {}))["seconds"]  # noqa: B023
    return {f"{case}, {name}": seconds[name] / seconds[""] for name in EVERY}


def _epoch(stack: Any, diagnostics: Any) -> dict[str, float]:
    from dlrun.diagnostics.during import During
    from dlrun.folder.names import table_of
    from dlrun.folder.records import append_rows
    from dlrun.training.train import fit

    rows: dict[str, list[Any]] = {name: [] for name in diagnostics}
    begin = time.process_time()
    looks = During(diagnostics, stack, lambda run, name, found: rows[name].extend(found.rows))
    fit(stack, Nobody(), looks=looks)
    with tempfile.TemporaryDirectory() as folder:
        for name, found in rows.items():
            append_rows(Path(folder, table_of(name)), found)
    return {"seconds": time.process_time() - begin}


def alone() -> dict[str, dict[str, dict[str, float]]]:
    """By case and diagnostic, what `measure_alone` prints."""
    return {case: apart(Path(__file__), "alone", case) for case in CASES}


def measure_alone(case: str) -> dict[str, dict[str, float]]:
    """Of an epoch with one evaluation: `ratio`, to the same without the look at this evaluation; `once`, the seconds
    that come once in a training: by which its first look takes longer than later ones, or of all of the look that it
    takes at the end; `MiB`, how far the process' memory rose while it looked.

    The ratio is 1 plus the time of the look, its table included, over the training's: the difference of the times of
    two trainings would tell more of the machine than of a look of milliseconds.
    """
    import torch

    from dlrun.config.catalogue import conf_dir
    from dlrun.errors import ConfigError
    from dlrun.training.build import build
    from dlrun.training.train import fit

    torch.set_num_threads(1)  # a copy of a process has no threads but one
    short = build([_config(case, "steps=2")])

    def warm() -> None:
        fit(short, Nobody())

    warm()
    at_the_end, begin = AtTheEnd(), time.process_time()
    fit(build([_config(case)]), Nobody(), looks=at_the_end)
    training, found = time.process_time() - begin, {}
    for path in sorted((conf_dir() / "diagnostics").glob("*.yaml")):
        name, less = path.stem, [f"diagnostics.{path.stem}.{key}" for key in LESS.get(path.stem, [])]
        if name != "none" and (case, name) not in LONG and (case in NETWORKS or ELSEWHERE.get(name) == case):
            try:
                diagnostic = build([_config(case, f"diagnostics=[{name}]", *less)]).diagnostics[name]
            except ConfigError:  # there is nothing to see in this network
                continue
            found[name] = _in_a_copy(lambda: _looked(at_the_end.view, name, diagnostic, training), warm)  # noqa: B023
            print(case, name, found[name], file=sys.stderr, flush=True)
    return found


def _config(case: str, *words: str) -> Any:
    from hydra import compose, initialize_config_dir

    from dlrun.config.catalogue import conf_dir

    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose("dlrun", [*COMMON, *CASES[case], "epochs=1", *words])


class Nobody:
    """An observer that does nothing."""

    def due(self) -> bool:
        return False

    def step(self, *_: Any) -> None:
        pass

    row = trace = step


class AtTheEnd:
    """A `Looks` that keeps what there is to be seen after the last step."""

    view: Any

    def before_step(self, stack: Any, state: Any) -> None:
        if state.step + 1 == stack.steps:
            self.before = stack.theta.clone()

    def look(self, stack: Any, state: Any) -> None:
        from dlrun.diagnostics.diagnostic import View

        if state.step == stack.steps:
            self.view = View(stack, state.step, self.before, list(state.taken), schedule=state.schedule)


def _looked(view: Any, name: str, diagnostic: Any, training: float) -> dict[str, float]:
    """What looking takes, beside so many seconds of training."""
    import torch

    from dlrun.diagnostics.diagnostic import Keeping, OfFinished
    from dlrun.diagnostics.finished import write

    with tempfile.TemporaryDirectory() as folder, torch.no_grad():

        def seconds(look: Callable[[], Any]) -> float:
            view.shared.clear()  # of what an earlier look has computed
            begin = time.process_time()
            write(Path(folder), name, look())
            return time.process_time() - begin

        first, later = seconds(lambda: diagnostic.look(view)[0]), list[float]()
        if isinstance(diagnostic, OfFinished):
            return {"once": first}
        while not later or (len(later) < TIMES and sum(later) < SECONDS):
            later.append(seconds(lambda: diagnostic.look(view)[0]))
        once = max(0.0, first - median(later))
        if isinstance(diagnostic, Keeping):
            path = torch.stack([view.before[0], view.stack.theta[0]])
            steps = torch.tensor([view.step - 1, view.step])
            once += seconds(lambda: diagnostic.conclude(view, 0, steps, path))
        return {"ratio": 1 + median(later) / training, "once": once}


def _in_a_copy(measure: Callable[[], dict[str, float]], warm: Callable[[], None] = lambda: None) -> dict[str, float]:
    """What it gives in a copy of this process, and `MiB`, how far that one's memory rose meanwhile.

    warm: what comes first, since a copy reads the libraries' code into memory again.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            warm()
            Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here on
            begin, found = _peak(), measure()
            os.write(writing, json.dumps({**found, "MiB": _peak() - begin}).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as file:
        told: dict[str, float] = json.load(file)
    os.waitpid(child, 0)
    return told


def _peak() -> float:
    """MiB."""
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024


if __name__ == "__main__":
    print(json.dumps({"alone": measure_alone, "together": measure_together}[sys.argv[1]](sys.argv[2])))
