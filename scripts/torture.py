"""Kill trainings again and again, resume them, and compare what they leave with the undisturbed run, byte by byte.

python scripts/torture.py 200 --seed 0

A cycle starts a command and ends it at random times, by kill -9, a signal, or kill -9 of a sweep's worker; in between
it may damage what the dead process left, as a full disk or a power cut would: a checkpoint or a CSV file cut short.
Then `dlrun resume`, or the same command again, until it says that it has finished.

A cycle counts as lost if it does not finish, as mismatch if any number or weight differs from the undisturbed run's.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

SMALL = ["dataset=iris", "architecture.hidden=[8]", "plots=none", "batch_size=16", "compile=false"]
CASES = {
    "dropout": ["regularizer=dropout", "epochs=60", "checkpoint_every=2.3"],
    "momentum": ["optimizer=momentum", "schedule=cosine", "schedule.warmup=0.1", "epochs=80", "checkpoint_every=3"],
    "adam": ["optimizer=adam", "train_metrics=running", "epochs=80", "checkpoint_every=1.6", "eval_every=3"],
    "batch norm": ["normalization=batch", "regularizer=[l2,gradient_noise]", "epochs=60", "checkpoint_every=2"],
    "early stopping": ["regularizer=early_stopping", "lr=0.05", "epochs=300", "checkpoint_every=1.5"],
    "plateau": [
        "schedule=plateau",
        "schedule.patience=2",
        "optimizer=sgd",
        "lr=0.1",
        "epochs=80",
        "checkpoint_every=2",
    ],
    "averages": ["regularizer=[ema,swa,dropout]", "lr=0.01", "epochs=50", "checkpoint_every=2.7"],
    "lr_range": ["schedule=lr_range", "optimizer=sgd", "epochs=60", "checkpoint_every=1.4", "eval_every=2"],
    "pretraining": ["initializer=autoencoder_pretraining", "initializer.epochs=5", "epochs=50", "checkpoint_every=2"],
    "minutes": ["regularizer=dropout", "epochs=60", "checkpoint_every=0.002min"],
    "at signals": ["regularizer=dropout", "epochs=40", "checkpoint_every=null"],
    "sweep": ["-m", "lr=0.1,0.01,0.001", "regularizer=dropout", "epochs=60", "checkpoint_every=3"],
    "sweep of two": ["-m", "optimizer=sgd,adam", "seed=0,1", "regularizer=dropout", "epochs=60", "checkpoint_every=3"],
}
SIGNALS = [signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT]
PATIENCE = 120  # seconds until a command that does not end is lost
REFUSED = "another process is at work"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cycles", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=list(CASES))
    options = parser.parse_args()
    # Commands are forked from a process that has imported all that is slow to import: a cycle is then a second or two.
    import dlrun.run
    import dlrun.sweep.launch  # noqa: F401

    folder = Path(tempfile.mkdtemp(prefix="torture-"))
    random_ = random.Random(options.seed)
    torture = Torture(folder, random_)
    told = {"finished": 0, "lost": 0, "mismatches": 0}
    for cycle in range(options.cycles):
        case = random_.choice(options.cases)
        verdict, story = torture.cycle(case, folder / str(cycle))
        told[verdict] += 1
        print(f"{cycle + 1}/{options.cycles} {case}: {', '.join(story)}: {verdict}", flush=True)
        if verdict == "finished":
            shutil.rmtree(folder / str(cycle))
    done = f"{torture.commands} commands, {torture.kills} ended, {torture.faults} files damaged"
    result = f"{told['lost']} lost, {told['mismatches']} mismatches"
    print(f"{options.cycles} cycles with seed {options.seed}: {done}; {result}")
    if told["finished"] == options.cycles:
        shutil.rmtree(folder)
    else:
        sys.exit(f"see {folder}")


class Torture:
    """Cycles, and what they have in common: the undisturbed runs.

    Args:
        folder: for everything that is written.
    """

    def __init__(self, folder: Path, random_: random.Random) -> None:
        self.folder, self.random = folder, random_
        self.commands, self.kills, self.faults = 0, 0, 0
        self.undisturbed: dict[str, tuple[dict[str, bytes], float]] = {}

    def cycle(self, case: str, folder: Path) -> tuple[str, list[str]]:
        """Train a case in the folder with disturbances; returns what became of it, and what was done."""
        if case not in self.undisturbed:
            reference, begun = self.folder / case.replace(" ", "_"), time.monotonic()
            self._start(command(case, reference), reference).join()
            self.undisturbed[case] = results(reference), time.monotonic() - begun
        expected, seconds = self.undisturbed[case]
        assert expected, f"{case} does not train undisturbed"
        story: list[str] = []
        for _ in range(self.random.randint(1, 4)):
            process = self._start(self._again(case, folder, story), folder)
            process.join(self.random.uniform(0, seconds))
            if process.exitcode is None:
                story.append(self._end(process, case))
                process.join(PATIENCE)
            if process.exitcode is None:
                process.kill()
                return "lost", [*story, "hung"]
            if self.random.random() < 0.3:
                story += self._damage(folder)
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            process = self._start(self._again(case, folder, story), folder)
            process.join(PATIENCE)
            if process.exitcode == 0:
                return ("finished" if results(folder) == expected else "mismatches"), story
            if REFUSED not in log(folder).read_text().splitlines()[-1]:
                return "lost", [*story, f"exit code {process.exitcode}"]
            time.sleep(0.2)  # a worker of a killed sweep has not noticed yet
        return "lost", [*story, "refused"]

    def _start(self, arguments: list[str], folder: Path) -> BaseProcess:
        self.commands += 1
        process = multiprocessing.get_context("fork").Process(target=dlrun, args=(arguments, log(folder)))
        process.start()
        return process

    def _again(self, case: str, folder: Path, story: list[str]) -> list[str]:
        known = (folder / ("plan.json" if "-m" in CASES[case] else "config.yaml")).exists()
        if not known or self.random.random() < 0.5:
            return command(case, folder)
        story.append("resume")
        return ["resume", str(folder)]

    def _end(self, process: BaseProcess, case: str) -> str:
        self.kills += 1
        assert process.pid is not None
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        if "-m" in CASES[case] and children and self.random.random() < 0.3:
            os.kill(int(self.random.choice(children)), signal.SIGKILL)
            return "a worker killed"
        signum = self.random.choice(SIGNALS)
        os.kill(process.pid, signum)
        return signum.name

    def _damage(self, folder: Path) -> list[str]:
        """Cut a file of a dead process short."""
        kind = self.random.choice(["checkpoint/*.safetensors", "metrics.csv", "lr_range.csv"])
        files = [f for f in folder.rglob(kind) if not (f.parent / "summary.json").exists()]
        if not files:
            return []
        file = max(files, key=lambda f: f.stat().st_mtime_ns)
        size = file.stat().st_size
        os.truncate(file, max(0, size - self.random.randint(1, 40)))
        self.faults += 1
        return [f"{file.name.split('-')[0]} cut short"]


def command(case: str, folder: Path) -> list[str]:
    """What to type to train a case in a folder."""
    sweep = ["hydra.launcher.workers=1", f"hydra.sweep.dir={folder}"]
    return [*CASES[case], *SMALL, *(sweep if "-m" in CASES[case] else [f"hydra.run.dir={folder}"])]


def log(folder: Path) -> Path:
    """Where the commands of a folder print."""
    return folder.with_name(f"{folder.name}.log")


def dlrun(arguments: list[str], output: Path) -> None:
    """The command, in a process of its own."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with output.open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    from dlrun.cli import main

    sys.argv = ["dlrun", *arguments]
    main()


def results(folder: Path) -> dict[str, bytes]:
    """What has to be the same to the last byte, by path: weights, and tables but for the column `seconds`."""
    found = {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.safetensors"))}
    for name in ("metrics.csv", "lr_range.csv", "pretraining.csv"):
        for path in folder.rglob(name):
            lines = path.read_text().splitlines()
            timed = lines[0].endswith(",seconds")
            found[str(path.relative_to(folder))] = "\n".join(
                line.rpartition(",")[0] if timed else line for line in lines
            ).encode()
    return found


if __name__ == "__main__":
    main()
