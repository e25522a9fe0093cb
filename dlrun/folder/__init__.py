"""What a run's folder holds: its files, its checkpoints, whether a run may go on there."""
