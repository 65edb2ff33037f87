"""One worker process: it answers requests as bytes, one at a time, and touches neither files nor the network."""

import os
import signal
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from vllm_opt.optimizer.web.known_names import NamesOnlyCatalog
from vllm_opt.optimizer.web.verbs import addressed, verb_named
from vllm_opt.profiles.catalogues.own_calibration import own_calibration_path
from vllm_opt.profiles.catalogues.own_prices import own_prices_path
from vllm_opt.profiles.errors import VllmOptError
from vllm_opt.profiles.printable import printable

OK, BAD_INPUT, FAULT = 200, 400, 500
FORBIDDEN = frozenset(
    ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "subprocess.Popen", "os.system", "os.exec")
)
"""Audit events that no answer needs."""
READABLE = ("/usr/share/zoneinfo", "/proc/self", "/proc/cpuinfo", "/dev/null", "/dev/urandom")


@dataclass(frozen=True)
class Reply:
    """What goes back over the wire."""

    status: int
    body: bytes
    format_name: str = "json"


@cache
def catalogue() -> NamesOnlyCatalog:
    """The catalogue of this process: what is in it is the same for every request."""
    return NamesOnlyCatalog()


def start(folder: str) -> None:
    """Make this process ready: an empty folder to stand in, what every answer needs imported, then the doors shut."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.chdir(folder)
    _import()
    tempfile.tempdir = tempfile.mkdtemp(dir=folder)  # a workbook is put together on disk; nothing else is written
    roots = (*_own_files(), os.path.realpath(tempfile.tempdir))
    sys.addaudithook(lambda event, arguments: _judge(event, arguments, roots))


def _import() -> None:
    """Load the solver and what writes its answers; types of files, which openpyxl asks for, are in no own file."""
    import mimetypes

    from vllm_opt.optimizer.cpsat.lean_start import import_solver

    import_solver()
    addressed("solver.solve:solve")
    addressed("rendering.formats:render_answer")
    mimetypes.init()


def _own_files() -> tuple[str, ...]:
    """The program's own folders, and what whoever runs the server imported for all of its answers."""
    package = Path(__file__).parents[2]
    found = [sys.prefix, sys.base_prefix, *sysconfig.get_paths().values(), *sys.path, str(package)]
    found += [str(own_prices_path()), str(own_calibration_path())]
    found += [os.path.realpath(place) for place in found if place]
    for part in ("optimizer", "constraints", "profiles"):
        found.append(os.path.realpath(str(package / part)))
    found.append(os.path.realpath(__file__).rsplit(os.sep + "optimizer" + os.sep, 1)[0])
    return tuple(sorted({str(place).rstrip(os.sep) for place in found if place and str(place) != os.sep}))


def _judge(event: str, arguments: Any, roots: tuple[str, ...]) -> None:
    """Let a process open only what it is made of; raises PermissionError, which readers turn into a sentence."""
    if event in FORBIDDEN:
        raise PermissionError("no request over the network reaches another machine or program")
    if event != "open" or not isinstance(arguments[0], str | bytes | os.PathLike):
        return
    path = os.path.realpath(os.fsdecode(arguments[0]))
    if not path.startswith(READABLE) and not any(path == root or path.startswith(root + os.sep) for root in roots):
        raise PermissionError("no file is read for a request over the network")


def answer(
    verb_name: str, body: bytes, format_name: str, longest_s: float, largest_bytes: int, brief: bool = False
) -> Reply:
    """Answer one request; whatever goes wrong is an `vllm-opt/error/1`, never an exception."""
    try:
        return Reply(OK, _answered(verb_name, body, format_name, longest_s, largest_bytes, brief), format_name)
    except VllmOptError as error:
        return Reply(BAD_INPUT, error_body(str(error)))
    except Exception as error:  # a fault of ours is one sentence to the client, never a traceback
        name = type(error).__name__
        return Reply(FAULT, error_body(f"sorry, this is a fault of vllm-opt ({name}); report it with the request"))


def _answered(
    verb_name: str, body: bytes, format_name: str, longest_s: float, largest_bytes: int, brief: bool
) -> bytes:
    from vllm_opt.optimizer.contract.json_object import json_object
    from vllm_opt.optimizer.web.answering import written
    from vllm_opt.optimizer.web.refusals import refuse_files, within_share

    verb = verb_named(verb_name)
    fields = json_object(body, "the body", largest_bytes)
    refuse_files(fields)
    limit = verb.request_type.model_fields.get("time_limit")
    if limit is not None:
        fields = within_share(fields, longest_s, limit.default)
    request = verb.request_type(**fields)
    options = {"brief": True} if brief else {}
    return written(verb_name, addressed(verb.function)(request, catalogue(), **options), format_name)


def listing(kind: str, filters: dict[str, Any]) -> Reply:
    """Rows of the catalogue; `kind` is models, gpus, quantizations, engines, prices, or choices for the page."""
    from vllm_opt.optimizer.rendering.as_json import as_json
    from vllm_opt.optimizer.web.listings import document

    try:
        return Reply(OK, (as_json(document(kind, filters, catalogue())) + "\n").encode())
    except VllmOptError as error:
        return Reply(BAD_INPUT, error_body(str(error)))


def error_body(sentence: str) -> bytes:
    """An `vllm-opt/error/1` as bytes."""
    from vllm_opt.optimizer.rendering.as_json import as_json_line

    words = printable(" ".join(sentence.split())).removeprefix("request: ")[:2000]
    return (as_json_line({"schema": "vllm-opt/error/1", "error": words}) + "\n").encode()


def empty_folder() -> "tempfile.TemporaryDirectory[str]":
    """Where workers stand: a relative name leads to nothing there."""
    return tempfile.TemporaryDirectory(prefix="vllm-opt-web-")
