"""What looking into networks costs beside training them: functions for `python scripts/bench.py diagnostics`, and what
it runs, WHAT CASE.

Each case is measured in a process of its own, on one thread, and each diagnostic in a copy of that process.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

COMMON = ["batch_size=128", "epochs=1", "compile=false", "threads=1", "device=cpu", "plots=none", "name=bench"]
CASES = {
    "MLP 784-100-100-10": ["dataset=mnist", "architecture.hidden=[100,100]"],
    "LeNet": ["dataset=mnist", "architecture=cnn"],
    "LSTM 28 x 28, 64 units": ["dataset=mnist", "architecture=lstm", "architecture.rows=true"],
    "MLP 2-100-100-2 (moons)": ["dataset=moons", "dataset.samples=2000", "architecture.hidden=[100,100]"],
    "MLP 1-100-100-1 (sine)": ["dataset=sine", "dataset.samples=2000", "architecture.hidden=[100,100]"],
}
NETWORKS = list(CASES)[:3]  #: in which all are measured that have something to see; in the others those that have not
TOGETHER = ("activations", "gradients", "gradient_noise")
#: where so many are the default, fewer samples than that, so that a round ends within minutes
FEWER = {"interpolation": 1000, "landscape": 1000, "trajectory": 1000, "spectrum": 128}
AGAIN = 5  #: times that the last look of a training is taken, whose median counts
STEPS = {"MLP 784-100-100-10": 2000, "LeNet": 200, "LSTM 28 x 28, 64 units": 300}


def together(rounds: int) -> list[dict[str, float]]:
    """Per round, for each network: a training with activations, gradients and gradient_noise at 128 samples, at every
    step and at every 16th, over one without, recording and tables included."""
    return [_all("together") for _ in range(rounds)]


def alone(rounds: int) -> list[dict[str, dict[str, float]]]:
    """Per round and case, for each diagnostic: what `measure_alone` prints."""
    return [{case: _of("alone", case) for case in CASES} for _ in range(rounds)]


def _all(what: str) -> dict[str, float]:
    return {name: value for case in NETWORKS for name, value in _of(what, case).items()}


def _of(*words: str) -> dict[str, Any]:
    command = [sys.executable, str(Path(__file__)), *words]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure_together(case: str) -> dict[str, float]:
    """See `together`."""
    at = {"none": [], **{every: _looking(every) for every in ("1steps", "16steps")}}
    seconds = {}
    for every, words in at.items():
        with tempfile.TemporaryDirectory() as folder:
            command = [str(Path(sys.executable).with_name("dlrun")), *COMMON, *CASES[case], *words]
            command += [f"steps={STEPS[case]}", f"hydra.run.dir={folder}/run"]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            seconds[every] = json.loads(Path(folder, "run", "summary.json").read_text())["seconds"]
    return {
        f"{case}, every step": seconds["1steps"] / seconds["none"],
        f"{case}, every 16th": seconds["16steps"] / seconds["none"],
    }


def _looking(every: str) -> list[str]:
    keys = {"every": every, "samples": 128}
    return [
        f"diagnostics=[{','.join(TOGETHER)}]",
        *(f"diagnostics.{name}.{key}={value}" for name in TOGETHER for key, value in keys.items()),
    ]


def measure_alone(case: str) -> dict[str, dict[str, float]]:
    """By diagnostic: `ratio`, of an epoch with one evaluation and its look to the same without; `once`, the seconds
    that come once in a training: of what its first look takes longer than its later ones, or of all of the look that
    it takes at the end; `MiB`, by how much the process' peak exceeds that of a training without.

    The ratio is one plus the time of the look, table included, over the training's own: the difference of two
    trainings' times would tell more of the machine than of a look of milliseconds.
    """
    import torch

    from dlrun.config.catalogue import conf_dir
    from dlrun.errors import ConfigError
    from dlrun.training.components import component

    torch.set_num_threads(1)
    names = sorted(path.stem for path in (conf_dir() / "diagnostics").glob("*.yaml") if path.stem != "none")
    plain, stack = _built(case)
    _train(stack)  # what a process needs once, it has from here on
    base = _apart(lambda: {"seconds": _train(stack)})
    found = {}
    for name in names:
        fewer = [f"diagnostics.{name}.samples={FEWER[name]}"] if name in FEWER else []
        node = _node([*COMMON, *CASES[case], f"diagnostics=[{name}]", *_features(name, stack), *fewer])
        diagnostic = component(node["diagnostics"][name])[0]
        with contextlib.suppress(ConfigError):
            diagnostic.fits(stack)
            if case in NETWORKS or not _in_networks(name):
                seen = _apart(lambda: _looked(stack, name, diagnostic))  # noqa: B023
                found[name] = {**seen, "MiB": max(0.0, seen["MiB"] - base["MiB"])}
    return found


def _in_networks(name: str) -> bool:
    """Whether it has something to see in one of the networks on images."""
    return name not in ("decision_boundary", "fit")


def _features(name: str, stack: Any) -> list[str]:
    return []


def _node(words: list[str]) -> Any:
    from hydra import compose, initialize_config_dir

    from dlrun.config.catalogue import conf_dir
    from dlrun.training.build import plain

    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return plain(compose("dlrun", words))


def _built(case: str) -> tuple[Any, Any]:
    from dlrun.training.build import build

    node = _node([*COMMON, *CASES[case]])
    return node, build([node])


class _Timed:
    """A `Looks` that times what another one does, the last time again and again."""

    def __init__(self, looks: Any, steps: int) -> None:
        self.looks, self.steps = looks, steps
        self.before_step = looks.before_step
        self.seconds: list[float] = []  #: of each look
        self.total = 0.0  #: of all of them

    def look(self, stack: Any, state: Any) -> None:
        begin = time.perf_counter()
        if state.step % stack.eval_every == 0 or state.step == self.steps:
            kept = self.looks.before
            times = []
            for _ in range(AGAIN if state.step == self.steps else 1):
                self.looks.before = kept
                start = time.perf_counter()
                self.looks.look(stack, state)
                times.append(time.perf_counter() - start)
            self.seconds.append(median(times))
        self.total += time.perf_counter() - begin


class _Row:
    """An observer that does nothing."""

    def due(self) -> bool:
        return False

    def row(self, *_: Any) -> None:
        pass

    step = trace = row


def _train(stack: Any, looks: Any = None) -> float:
    """Seconds of a training."""
    from dlrun.training.train import fit
    from dlrun.training.watching import NOBODY

    begin = time.perf_counter()
    fit(stack, _Row(), looks=looks or NOBODY)
    return time.perf_counter() - begin


def _looked(stack: Any, name: str, diagnostic: Any) -> dict[str, float]:
    """Train and look."""
    import torch

    from dlrun.diagnostics.diagnostic import DuringTraining, Keeping, View
    from dlrun.diagnostics.during import During
    from dlrun.diagnostics.finished import write
    from dlrun.folder.names import table_of
    from dlrun.folder.records import append_rows

    with tempfile.TemporaryDirectory() as temporary:
        folder, kept = Path(temporary), []

        def tell(run: int, name: str, found: Any) -> None:
            append_rows(folder / table_of(name), found.rows)
            kept.append(found.kept)

        if not isinstance(diagnostic, DuringTraining):
            begin = time.perf_counter()
            with torch.no_grad():
                [found] = diagnostic.look(View(stack, stack.steps))
            write(folder, name, found)
            return {"once": time.perf_counter() - begin}
        timed = _Timed(During({name: diagnostic}, stack, tell), stack.steps)
        training = _train(stack, timed) - timed.total
        first, later = timed.seconds[0], timed.seconds[-1]
        once = max(0.0, first - later)
        if isinstance(diagnostic, Keeping):
            begin = time.perf_counter()
            steps, path = (torch.stack([torch.as_tensor(each[i]) for each in (kept[0], kept[-1])]) for i in (0, 1))
            with torch.no_grad():
                write(folder, name, diagnostic.conclude(View(stack, stack.steps), 0, steps, path))
            once += time.perf_counter() - begin
        return {"ratio": 1 + later / training, "once": once}


def _apart(measure: Callable[[], Mapping[str, float]]) -> dict[str, float]:
    """What it gives in a copy of this process, and `MiB`, how far that one's memory rose at most."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here on
            begin = _peak()
            found = {**measure(), "MiB": 0.0}
            found["MiB"] = _peak() - begin
            os.write(writing, json.dumps(found).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as file:
        text = file.read()
    os.waitpid(child, 0)
    told: dict[str, float] = json.loads(text)
    return told


def _peak() -> float:
    told = Path("/proc/self/status").read_text().partition("VmHWM:")[2]
    return int(told.split()[0]) / 1024


if __name__ == "__main__":
    _, what, case = sys.argv
    print(json.dumps({"together": measure_together, "alone": measure_alone}[what](case)))
