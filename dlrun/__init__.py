"""dlrun: a command-line experiment runner for deep learning."""

import os

# Before MKL starts, in every process: else it takes other kernels for a row of a stack than for the run alone, by how
# the row's memory is aligned. It costs nothing that could be measured. ("AUTO,STRICT" costs a fifth.)
os.environ.setdefault("MKL_CBWR", "AUTO")

__version__ = "0.1.0"
