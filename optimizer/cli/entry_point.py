"""Where the installed command starts: from here on Ctrl-C is one line and exit code 130, even while modules load."""

import os
import signal
from contextlib import suppress


def _leave(_signal: int, _frame: object) -> None:
    with suppress(OSError):
        os.write(2, b"vllm-opt: interrupted\n")
    os._exit(130)


def main() -> int:
    """Import the command line, which then watches for interruptions itself, and run it."""
    signal.signal(signal.SIGINT, _leave)
    from vllm_opt.optimizer.cli.main import main as run

    return run()
