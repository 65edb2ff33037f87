"""`--requests FILE`: one JSON request per line, one JSON answer per line, in the same order."""

import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import click
from click.core import ParameterSource

from vllm_opt.optimizer.cli.options import typed
from vllm_opt.optimizer.cli.output import write_answer, write_standard_output
from vllm_opt.optimizer.contract.json_object import json_object
from vllm_opt.optimizer.rendering.as_json import as_json_line
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.errors import InvalidRequest, VllmOptError

LONGEST_LINE_BYTES = 2**20
PROGRAM_FAULT = 70
Answering = Callable[[Any, Catalog], Any]
"""`solve` or `estimate`: a request and the catalogue that all requests with the same files share."""


def answer_file(context: click.Context, request_type: Any, answer: Answering) -> int:
    """Answer every line of the file named by `--requests`; options on the command line are defaults for each.

    Returns 2 when any line was bad input, else 0: a line whose request is infeasible or does not fit was answered.

    Raises:
        InvalidRequest: the file cannot be read, or `--format` asks for something else than JSON lines.
    """
    _refuse_other_formats(context)
    defaults = typed(context, request_type.model_fields)
    output = context.params["output"]
    answered, code = [], 0
    catalogs: dict[tuple[str | None, str | None], Catalog] = {}

    def answer_with_catalog(request: Any) -> Any:
        files = request.gpu_file, request.prices
        catalog = catalogs.setdefault(files, Catalog(gpu_file=files[0], prices_file=files[1]))
        return answer(request, catalog)

    with _opened(context.params["requests"]) as stream:
        for line_number, line in _lines(stream):
            document, line_code = _answer_line(line, line_number, defaults, request_type, answer_with_catalog)
            code = max(code, line_code)
            if output is None or output == "-":
                write_standard_output(as_json_line(document) + "\n")
            else:
                answered.append(as_json_line(document) + "\n")
    if output is not None and output != "-":
        write_answer("".join(answered), output)
    return code


def _refuse_other_formats(context: click.Context) -> None:
    asked = context.get_parameter_source("format_name") is ParameterSource.COMMANDLINE
    if asked and context.params["format_name"] != "json":
        raise InvalidRequest("--requests answers in JSON lines; leave --format out")


@contextmanager
def _opened(path: str) -> Iterator[IO[bytes]]:
    if path == "-":
        if sys.stdin is None:
            raise InvalidRequest("cannot read --requests '-': standard input is closed")
        yield sys.stdin.buffer
        return
    try:
        stream = Path(path).open("rb")  # noqa: SIM115
    except (OSError, ValueError) as error:
        raise InvalidRequest(
            f"cannot read --requests '{path[-200:]}': {getattr(error, 'strerror', None) or error}"
        ) from None
    with stream:
        if stat.S_ISCHR(os.fstat(stream.fileno()).st_mode) and not stream.isatty():
            raise InvalidRequest(f"cannot read --requests '{path}': a device is no request file")
        yield stream


def _lines(stream: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield every line that is not blank with its number from 1; of an overlong line only the beginning is kept."""
    line_number = 0
    while line := stream.readline(LONGEST_LINE_BYTES + 1):
        line_number += 1
        rest = line
        while len(rest) > LONGEST_LINE_BYTES and not rest.endswith(b"\n"):
            rest = stream.readline(LONGEST_LINE_BYTES + 1)
        if line.strip():
            yield line_number, line


def _answer_line(
    line: bytes, line_number: int, defaults: dict[str, Any], request_type: Any, answer: Callable[[Any], Any]
) -> tuple[dict[str, Any], int]:
    try:
        request = request_type(**{**defaults, **json_object(line, "the line", LONGEST_LINE_BYTES)})
        return answer(request).model_dump(mode="json"), 0
    except VllmOptError as error:
        return _error(" ".join(str(error).split()), line_number), 2
    except Exception as error:
        sentence = f"sorry, this is a fault of vllm-opt ({type(error).__name__}); run this line alone and report it"
        return _error(sentence, line_number), PROGRAM_FAULT


def _error(sentence: str, line_number: int) -> dict[str, Any]:
    return {"schema": "vllm-opt/error/1", "error": sentence.removeprefix("request: "), "line": line_number}
