"""Data sources, one file per kind, and what is done to every one of them: split and scale."""
