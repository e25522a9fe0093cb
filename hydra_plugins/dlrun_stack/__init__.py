"""dlrun's plugins for Hydra, which imports this package at every start: nothing heavy here."""
