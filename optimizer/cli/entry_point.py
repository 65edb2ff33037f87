"""Where the installed command starts: from here on Ctrl-C is one line and exit code 130, even while modules load."""

import gc
import os
import signal
from contextlib import suppress

COLLECTIONS = 100_000, 20, 20
"""Python's own thresholds collect dozens of times while modules load and layouts are listed, and find nothing."""


def _leave(_signal: int, _frame: object) -> None:
    with suppress(OSError):
        os.write(2, b"vllm-opt: interrupted\n")
    os._exit(130)


def main() -> int:
    """Import the command line, which then watches for interruptions itself, and run it."""
    signal.signal(signal.SIGINT, _leave)
    gc.set_threshold(*COLLECTIONS)
    from vllm_opt.optimizer.cli.main import main as run

    return run()
