"""Where a training pauses before its last step: when its time is over, or where its sweep decides which runs go on."""

from __future__ import annotations

from typing import Any

from dlrun.config.durations import seconds, written
from dlrun.config.moments import Moment
from dlrun.training.components import Node
from dlrun.training.stack import Stack


class Pausing:
    """When the runs of a stack pause, and what their summaries say then.

    Args:
        node: the config of one of them, whose max_time is that of all.
        until: the moment at whose next evaluation they wait for a decision; None: they need none.
    """

    def __init__(self, node: Node, stack: Stack, until: Moment | None) -> None:
        self._max_time = node.get("max_time")  # which configs of earlier versions lack
        self._epochs, self._until = stack.steps / stack.steps_per_epoch, until
        self._spent = False

    def over(self, epoch: float, step: int, passed: float) -> bool:
        """Whether this evaluation, so many seconds after the beginning, is the one at which they pause."""
        self._spent = self._max_time is not None and passed >= seconds(self._max_time)
        return self._spent or (self._until is not None and self._until.reached(epoch, step))

    def told(self, summary: dict[str, Any]) -> dict[str, Any]:
        """The summary of a run that has paused."""
        if not self._spent:
            return summary | {"status": "interrupted", "reason": f"waits at {self._until} for the other runs"}
        assert self._max_time is not None
        where = f"epoch {summary['epochs']:.5g} of {self._epochs:.5g}"
        reason = f"max_time={written(self._max_time)} is over, at {where}"
        return summary | {"status": "finished", "reason": reason, "budget": seconds(self._max_time)}
