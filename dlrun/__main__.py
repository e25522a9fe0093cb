"""`python -m dlrun` is the command `dlrun`."""

from dlrun.cli import main

main()
