"""Choices of one's own for dlrun: an optimizer, a dataset, an architecture and a diagnostic."""
