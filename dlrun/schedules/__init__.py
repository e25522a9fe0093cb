"""Learning-rate schedules: pure functions of the step, for all rows at once; one file per family."""
