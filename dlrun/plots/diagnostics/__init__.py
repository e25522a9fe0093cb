"""Pictures of what diagnostics saw, a file for each, by its name; each draws from its own table and nothing else."""
