"""`--dump-model FILE`: where the CP-SAT model goes, and what is said when there is none."""

from pathlib import Path

import click

from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.printable import printable
from vllm_opt.profiles.whole_file import replace_file


def check_model_file(path: str, output: str | None) -> None:
    """Refuse, before anything is solved, a name that cannot be a file of its own.

    Raises:
        InvalidRequest: it is empty, standard output, or the file of the answer.
    """
    if path in ("", "-"):
        raise InvalidRequest("--dump-model needs the name of a file; standard output is for the answer")
    try:
        same = output not in (None, "-") and Path(path).resolve() == Path(str(output)).resolve()
    except (OSError, ValueError, RuntimeError):
        return  # writing it says why
    if same:
        raise InvalidRequest("--dump-model and --output name the same file; give two")


def write_model(path: str, models: list[str]) -> None:
    """Write the model behind the answer, the last one; without one say so and leave the file as it is.

    Raises:
        InvalidRequest: the file cannot be written; what stood there before is untouched.
    """
    if models:
        replace_file(Path(path), models[-1])
        return
    shown = printable(path[-200:])
    click.echo(f"vllm-opt: no model was written to '{shown}': no layout is left to decide between", err=True)
