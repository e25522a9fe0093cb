"""What products with second derivatives cost: functions for `python scripts/bench.py diagnostics`, and what it runs,
WHAT CASE.

Each case is measured in a process of its own, on one thread; time is the processor's, which others on the machine take
little of.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

BATCH = 128
TURNS = 30  #: of every contestant; they take turns
COMMON = ["dataset=digits", f"batch_size={BATCH}", "compile=false", "threads=1", "device=cpu", "name=bench"]
CASES = {
    "MLP 784-100-100-10": ["dataset=mnist", "architecture.hidden=[100,100]"],
    "LeNet's sizes on 28 x 28": ["dataset=mnist", "architecture=cnn"],
    "LSTM 28 x 28, 64 units": ["dataset=mnist", "architecture=lstm", "architecture.rows=true"],
    "MLP 64-10-10": ["architecture.hidden=[10]"],
}


def products(rounds: int) -> list[dict[str, dict[str, float]]]:
    """Per round and case, what `measure_products` prints."""
    return [{case: apart(Path(__file__), "products", case) for case in CASES} for _ in range(rounds)]


def apart(script: Path, *words: str) -> Any:
    """What the script prints in a process of its own."""
    done = subprocess.run([sys.executable, str(script), *words], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure_products(case: str) -> dict[str, float]:
    """Milliseconds of a recorded gradient of 128 samples; over it, of a product, of the linearisation, and of the same
    by autograd's own hand; MiB of the linearisation, and the process' peak."""
    import torch

    from dlrun.diagnostics.products import Products
    from dlrun.matrix.trace import Recording
    from dlrun.training.objective import objective_of

    torch.set_num_threads(1)
    stack = _stack(case)
    batch, v = torch.arange(BATCH)[None], torch.randn_like(stack.theta)
    with torch.no_grad():
        recording = Recording(lambda batch: stack.gradient(stack.theta, batch)[:2], [batch], scratch=[stack.g])
        gradient = recording.program()
    contestants: dict[str, Callable[[], Any]] = {"gradient": lambda: gradient(batch)}
    mebibytes = {}
    for matrix in ("hessian", "gauss_newton"):
        made = Products(matrix, "train", BATCH, "batch")
        product = made.at_theta(stack)
        mebibytes[f"{matrix}, MiB kept"] = made.bytes_kept / 2**20
        contestants[matrix] = partial(product, v)
        contestants[f"{matrix}, linearisation"] = partial(made.at_theta, stack)
    x, y, _ = stack.minibatch(batch)

    def by_hand() -> None:
        leaf = stack.theta.detach().requires_grad_()
        (g,) = torch.autograd.grad(objective_of(stack, leaf, x, y).sum(), leaf, create_graph=True)
        torch.autograd.grad((g * v).sum(), leaf)

    contestants["hessian, eager"] = by_hand
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(TURNS + 2):
        for name, contestant in contestants.items():
            begin = time.process_time()
            with torch.set_grad_enabled(contestant is by_hand):
                contestant()
            if turn >= 2:
                times[name].append(time.process_time() - begin)
    base = median(times["gradient"])
    ratios = {
        name: median([a / b for a, b in zip(each, times["gradient"], strict=True)]) for name, each in times.items()
    }
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    return {**ratios, "gradient": 1000 * base, **mebibytes, "peak MiB": peak}


def _stack(case: str) -> Any:
    from hydra import compose, initialize_config_dir

    from dlrun.config.catalogue import conf_dir
    from dlrun.training.build import build

    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return build([compose("dlrun", [*COMMON, *CASES[case]])])


if __name__ == "__main__":
    _, what, case = sys.argv
    print(json.dumps({"products": measure_products}[what](case)))
