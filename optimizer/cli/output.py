"""Where an answer goes: standard output, or a file that is written whole or not at all."""

import sys
from pathlib import Path

import click

from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.whole_file import replace_file


def write_answer(answer: str, output: str | None) -> None:
    """Write the answer, ending in a line break, to the file or to standard output.

    Raises:
        InvalidRequest: the file cannot be written; what stood there before is untouched.
        OSError: standard output cannot be written.
    """
    answer = answer if answer.endswith("\n") else answer + "\n"
    if output is not None and output != "-":
        replace_file(Path(output), answer)
        return
    write_standard_output(answer)


def write_standard_output(answer: str) -> None:
    """Write to standard output; characters that its encoding lacks become '?'.

    Raises:
        InvalidRequest: there is no standard output.
    """
    if sys.stdout is None:
        raise InvalidRequest("standard output is closed; give --output FILE")
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="replace")
    click.echo(answer, nl=False)
    sys.stdout.flush()
