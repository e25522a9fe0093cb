"""The parameter matrix, one row per run, and functions of it that are recorded and replayed."""
