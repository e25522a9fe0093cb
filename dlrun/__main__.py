"""The command `dlrun`, also as `python -m dlrun`: what Ctrl-C does before and after its own code runs."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType


def main() -> None:
    """See `dlrun.command.cli.main`. The exit code is 130 after Ctrl-C, whenever it comes."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _leave)
    if sys.argv[1:2] == ["completion"]:  # at every Tab, which does not wait for Hydra
        from dlrun.command import completion

        if 3 <= len(sys.argv) <= 4 and sys.argv[2] in completion.SCRIPTS:
            sys.exit(completion.main(sys.argv[2:]))
    from dlrun.command import cli

    try:
        cli.main()
    except SystemExit as ended:
        if ended.code == cli.EXIT_CODES["interrupted"]:
            cli.leave_quietly()
        raise
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # there is nothing left to interrupt


def _leave(signum: int, frame: FrameType | None) -> None:
    """Nothing is open yet."""
    os.write(2, b"dlrun: interrupted\n")
    os._exit(130)


if __name__ == "__main__":
    main()
