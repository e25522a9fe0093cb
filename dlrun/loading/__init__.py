"""Finished runs and sweeps in Python: loaded from their folders, predicted with, exported."""
