"""Pictures, drawn from the files of a folder and from nothing else."""
