"""From configs to a stack that trains: one trainer for everything."""
