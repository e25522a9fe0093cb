"""An update rule that kills its process, or raises, for the runs that say so; to be written to mine.py."""

from __future__ import annotations

DEADLY = """
import os, signal
from dlrun.optimizers.sgd import SGD

class Deadly(SGD):
    traceable = False

    def update(self, theta, g, state, *, lr, kills):
        if (kills == 1).any():
            os.kill(os.getpid(), signal.SIGKILL)
        if (kills == 2).any():
            raise MemoryError("out of memory")
        super().update(theta, g, state, lr=lr)
"""
