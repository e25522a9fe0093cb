"""Learning-rate schedules: pure functions of the step, for all rows at once; one file per family."""

from dlrun.schedules.schedule import Clock, Schedule, State
from dlrun.schedules.warmup import momenta, rates, warmup_steps

__all__ = ["Clock", "Schedule", "State", "momenta", "rates", "warmup_steps"]
