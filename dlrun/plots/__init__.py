"""Pictures, drawn from the files of a folder and from nothing else."""

from dlrun.files.surroundings import load_matplotlib

load_matplotlib()  # before any file here imports it
