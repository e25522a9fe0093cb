"""Sweeps: many runs composed, checked, trained in stacks, and taken up again where they were left."""
