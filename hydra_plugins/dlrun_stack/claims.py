"""Hydra's `hydra/sweeper=claims`: the runs of the lectures' claims, look by look, until each is decided."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from hydra_plugins.dlrun_stack.sweeper import Sweeper


class Claims(Sweeper):
    """A sweeper that asks for more seeds of a claim at each of its looks, and leaves a page of verdicts.

    Args:
        claims: their names; none for all.
        large: by the lectures' own sizes.
        again: on other seeds than the verdicts before.
    """

    def __init__(self, claims: Sequence[str], large: bool, again: bool) -> None:
        super().__init__(max_batch_size=None, params=None)
        self.claims, self.large, self.again = list(claims), large, again

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from dlrun.claims.claim import load, names

        self.chosen = [load(name, self.large) for name in names(self.claims)]
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def sweep(self, arguments: list[str]) -> Any:
        """Run what is missing, and judge; the arguments go into every run's config."""
        from dlrun.claims.claim import AGAIN
        from dlrun.claims.conclude import conclude
        from dlrun.claims.rounds import rounds
        from dlrun.sweep.beginning import ended
        from dlrun.terminal.exits import statuses

        assert self.config is not None and self.launcher is not None
        folder, launched = Path(self.config.hydra.sweep.dir).absolute(), 0

        def launch(jobs: list[list[str]]) -> list[Path]:
            nonlocal launched
            assert self.launcher is not None
            found = self.launcher.launch([[*job, *arguments] for job in jobs], initial_job_idx=launched)
            launched += len(jobs)
            return [Path(each.working_dir or "") for each in found]

        refused = rounds(self.chosen, AGAIN if self.again else 0, folder, launch)
        ended.clear()  # whose report compares all runs with each other, and these are of many kinds
        if not conclude(folder, self.chosen, refused, self.large):
            statuses.append("failed")
        return None
