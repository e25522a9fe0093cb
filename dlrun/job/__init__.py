"""From a config to its finished folder: one run, or the runs of a stack."""
