"""Weights & Biases, offline: a run in the run's folder, which `wandb sync` uploads when the user says so."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from dlrun.files.opening import inside, read
from dlrun.files.replacing import replacing
from dlrun.trackers.tracker import Tracker

STANDING = "wandb/dlrun.txt"  #: how often the run began, and the last step that was logged


class WandB(Tracker):
    """Each column is a metric over steps, the config its config, what was reached its summary. A run that goes on has
    the same id, by which `wandb sync` puts its parts together; nothing of the terminal, code or machine is recorded."""

    def open(self, folder: Path, name: str, config: Mapping[str, str | float | bool], anew: bool) -> int:
        import wandb

        self.standing, begins, last = inside(folder, STANDING), 0, -1
        with suppress(OSError):
            numbers = re.fullmatch(r"(\d{1,9}) (-?\d{1,18})\n", read(folder, STANDING))
            begins, last = (int(number) for number in numbers.groups()) if numbers else (0, -1)
        self.begins, last = (begins + 1, -1) if anew else (begins, last)
        own = hashlib.sha256(f"{folder.resolve()} {self.begins}".encode()).hexdigest()[:16]
        silent = wandb.Settings(
            silent=True, console="off", disable_git=True, disable_code=True, save_code=False, x_disable_stats=True,
            x_disable_meta=True,
        )  # fmt: skip
        self.run: Any = wandb.init(
            project="dlrun", mode="offline", dir=str(folder), id=own, name=name, resume="allow", config=dict(config),
            reinit="create_new", settings=silent,
        )  # fmt: skip
        self._stands(last)
        return last

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.run.log(dict(values), step=step)
        self._stands(step)

    def close(self, status: str, step: int, values: Mapping[str, float] | None) -> None:
        self.run.summary.update({"status": status, **(values or {})})
        self.run.finish(exit_code=int(status == "failed"))

    def _stands(self, step: int) -> None:
        self.standing.parent.mkdir(exist_ok=True)
        with replacing(self.standing) as part:
            part.write_text(f"{self.begins} {step}\n", encoding="utf-8")
