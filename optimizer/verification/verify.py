"""`verify`: what was promised against what is measured, now or earlier, and which term of the model was wrong."""

import json
import math
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from vllm_opt.optimizer.calibration.observe import NotComparable, observation_of
from vllm_opt.optimizer.calibration.point import BenchmarkPoint, point_of
from vllm_opt.optimizer.calibration.reading import Readings, read_all
from vllm_opt.optimizer.calibration.sources import files_of
from vllm_opt.optimizer.calibration.startup_compare import compared_start
from vllm_opt.optimizer.verification.blame import blame_of
from vllm_opt.optimizer.verification.commands import benchmark_of, checks_of, metadata_of, requests_of, vllm_words
from vllm_opt.optimizer.verification.load_client import Traffic, connection_to, measure
from vllm_opt.optimizer.verification.promises import Promise, read_promises
from vllm_opt.optimizer.verification.report import Blame, Check, MemoryTermCheck, ServiceVerification, Verification
from vllm_opt.optimizer.verification.request import VerifyRequest
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.errors import InvalidRequest, did_you_mean
from vllm_opt.profiles.printable import printable
from vllm_opt.profiles.whole_file import replace_file

SAME_LOAD, SAME_LENGTH = 0.1, 0.25
"""How far a measured load and lengths may be from the plan's to be a measurement of it."""
TERM_OF = {"ttft": "ttft_ms", "tpot": "tpot_ms", "throughput": "output_tokens_per_s"}


@dataclass(frozen=True)
class Measured:
    """What was measured of one service."""

    point: BenchmarkPoint
    source: str


def verify(request: VerifyRequest, catalog: Catalog | None = None) -> Verification:
    """Print how to measure a plan, measure it, or judge results that exist.

    Raises:
        InvalidRequest: the plan or the results cannot be used, or the server answers nothing.
    """
    catalog = catalog or Catalog()
    promises = _chosen(read_promises(request.plan), request)
    if request.run and request.results:
        raise InvalidRequest("--run measures and --results judges what was measured; give one of them")
    if request.run:
        (promise,) = _one_of(promises)
        result = _run(promise, request)
        measured = _as_points([("the run", result)], promise)
        return _verdict([_judged(promise, measured, request, catalog)], _saved(result, request))
    if request.results:
        readings = read_all(files_of(request.results))
        return _verdict([_with_results(one, readings, request, catalog) for one in promises], ())
    services = [_service(one, checks_of(one), request) for one in promises]
    return Verification(status="to_run", services=tuple(services), notes=("nothing was measured yet",))


def _chosen(promises: tuple[Promise, ...], request: VerifyRequest) -> tuple[Promise, ...]:
    if request.service is None:
        return promises
    found = tuple(one for one in promises if one.name == request.service)
    if not found:
        names = [one.name for one in promises]
        shown = printable(repr(request.service[:60]))
        raise InvalidRequest(f"the plan has no service {shown}{did_you_mean(request.service, names) or ''}")
    return found


def _one_of(promises: tuple[Promise, ...]) -> tuple[Promise, ...]:
    if len(promises) != 1:
        names = ", ".join(one.name for one in promises[:8])
        raise InvalidRequest(
            f"the plan has {len(promises)} services; say which stands at --base-url with --service: {names}"
        )
    return promises


def _service(promise: Promise, checks: Sequence[Check], request: VerifyRequest, **more: Any) -> ServiceVerification:
    found = [check.passed for check in checks if check.passed is not None]
    return ServiceVerification(
        name=promise.name, model=promise.model, gpu=promise.gpu,
        benchmark=benchmark_of(promise, request.base_url, request.served_model_name, request.requests),
        checks=tuple(checks), passed=all(found) if found else None, **more,
    )  # fmt: skip


def _verdict(services: Sequence[ServiceVerification], notes: tuple[str, ...]) -> Verification:
    found = {one.passed for one in services}
    status: Literal["to_run", "passed", "missed"] = "to_run"
    if False in found:
        status = "missed"
    elif True in found:
        status = "passed"
    return Verification(status=status, services=tuple(services), notes=notes)


def _run(promise: Promise, request: VerifyRequest) -> dict[str, Any]:
    """Measure the server: with vLLM's own client where it is there."""
    connection_to(request.base_url)
    served, requests = request.served_model_name or promise.served, requests_of(promise, request.requests)
    program = shutil.which("vllm") if request.client != "own" else None
    if request.client == "vllm" and program is None:
        raise InvalidRequest("vLLM is not installed here; leave --client out for the client of our own")
    if program is None:
        traffic = Traffic(
            model=served, users=promise.users, requests_per_s=promise.requests_per_s, requests=requests,
            input_tokens=promise.lengths[0], output_tokens=promise.lengths[1], deadline_s=request.time_limit,
        )  # fmt: skip
        return {**measure(request.base_url, traffic), **metadata_of(promise)}
    return _run_vllm(program, promise, request, served, requests)


def _run_vllm(program: str, promise: Promise, request: VerifyRequest, served: str, requests: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="vllm-opt-verify-") as folder:
        words = vllm_words(promise, request.base_url, served, requests, "result.json")
        try:
            run = subprocess.run(
                [program, *words[1:], "--result-dir", folder], capture_output=True, text=True, check=False,
                timeout=request.time_limit, errors="replace",
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise InvalidRequest(
                f"vllm bench serve took longer than {request.time_limit:g} s; see --time-limit"
            ) from None
        except OSError as error:
            raise InvalidRequest(f"vllm bench serve cannot be started: {error.strerror}") from None
        file = Path(folder, "result.json")
        if run.returncode or not file.is_file():
            last = " ".join(run.stderr.split()[-30:])
            raise InvalidRequest(printable(f"vllm bench serve failed with {run.returncode}: {last}"[-400:]))
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"), parse_constant=lambda _: None)
        return content


def _saved(result: dict[str, Any], request: VerifyRequest) -> tuple[str, ...]:
    if request.save_result is None:
        return ("keep the measured result with --save-result FILE: `vllm-opt calibrate FILE` learns from it",)
    replace_file(Path(request.save_result), json.dumps(result, ensure_ascii=False, indent=1) + "\n")
    shown = printable(request.save_result[-200:])
    return (f"the result is in {shown}; `vllm-opt calibrate {shown}` makes the next answer better",)


def _as_points(records: Sequence[tuple[str, dict[str, Any]]], promise: Promise) -> list[Measured]:
    stated = {"model": promise.model, **metadata_of(promise)}
    points = [(name, point_of(record, stated)) for name, record in records]
    return [Measured(point, name) for name, point in points if isinstance(point, BenchmarkPoint)]


def matches(point: BenchmarkPoint, promise: Promise) -> bool:
    """Whether a point was measured at the load and the lengths of the plan."""

    def near(one: float | None, other: float, tolerance: float) -> bool:
        return one is None or abs(math.log(one / other)) <= tolerance

    wanted = promise.requests_per_s if promise.requests_per_s is not None else float(promise.users)
    kinds = ("open",) if promise.requests_per_s is not None else ("closed", "burst")
    return (
        point.kind in kinds
        and near(point.load, wanted, SAME_LOAD)
        and near(point.input_tokens, promise.lengths[0], SAME_LENGTH)
        and near(point.output_tokens, promise.lengths[1], SAME_LENGTH)
    )


def _with_results(
    promise: Promise, readings: Readings, request: VerifyRequest, catalog: Catalog
) -> ServiceVerification:
    """Judge the results that were measured at the plan's load."""
    points = _as_points(readings.records, promise)
    fitting = [one for one in points if matches(one.point, promise)]
    memory = _memory(promise, readings, catalog)
    if not fitting and not memory:
        load = f"{promise.requests_per_s:g} requests/s" if promise.requests_per_s else f"{promise.users} users"
        seen = ", ".join(
            f"{one.point.load:g} x {one.point.input_tokens or 0:.0f}/{one.point.output_tokens or 0:.0f}"
            for one in points[:5] if one.point.load
        )  # fmt: skip
        unread = "; ".join(f"{name}: {why}" for name, why in list(readings.failed.items())[:3])
        found = f"; found {seen}" if seen else f"; {unread}" if unread else "; found no result of a benchmark"
        raise InvalidRequest(
            f"no result was measured at the load of '{promise.name}', {load} with {promise.lengths[0]} tokens in and "
            f"{promise.lengths[1]} out{printable(found)}; run the command that verify prints without --results"
        )
    judged = _judged(promise, fitting, request, catalog)
    return judged.model_copy(update={"memory": memory})


def _judged(
    promise: Promise, measured: Sequence[Measured], request: VerifyRequest, catalog: Catalog
) -> ServiceVerification:
    """Each promise against the mean of the runs, and the term that explains the difference."""
    found: dict[str, float] = {}
    for metric, term in TERM_OF.items():
        values = [one.point.measured[metric] for one in measured if metric in one.point.measured]
        if values:
            found[term] = sum(values) / len(values)
    checks = [_checked(check, found.get(check.term)) for check in checks_of(promise)]
    failed = sum(one.point.failed for one in measured)
    notes = [f"{failed} requests got no answer: the figures are of the others"] if failed else []
    if any(check.measured is None for check in checks) and measured:
        notes.append("not every term was measured: those without a figure are not judged")
    blame, why = _blame(measured, checks, catalog)
    if why:
        notes.append(why)
    judged = _service(
        promise, checks, request, failed_requests=failed, results=tuple(dict.fromkeys(one.source for one in measured)),
        blame=blame, notes=tuple(notes),
    )  # fmt: skip
    return judged.model_copy(update={"passed": False}) if failed and judged.passed else judged


def _checked(check: Check, value: float | None) -> Check:
    if value is None:
        return check
    passed = value >= check.limit if check.term == "output_tokens_per_s" else value <= check.limit
    return check.model_copy(
        update={"measured": value, "passed": passed, "off": round(value / check.predicted - 1, 4)}
    )  # fmt: skip


def _blame(measured: Sequence[Measured], checks: Sequence[Check], catalog: Catalog) -> tuple[Blame | None, str]:
    """The term that was wrong, of the first run; or why it cannot be said."""
    if not measured or all(check.measured is None for check in checks):
        return None, ""
    try:
        return blame_of(observation_of(measured[0].point, measured[0].source, catalog), catalog), ""
    except NotComparable as why:
        return None, f"which term was wrong cannot be said: {why}"


def _memory(promise: Promise, readings: Readings, catalog: Catalog) -> tuple[MemoryTermCheck, ...]:
    """Terms of start-up memory that a log among the results prints."""
    stated = {"model": promise.model, **metadata_of(promise)}
    found = []
    for name, start in readings.starts:
        compared = compared_start(start, name, stated, catalog)
        if isinstance(compared, str):
            continue
        found += [
            MemoryTermCheck(term=term, measured=measured, predicted=predicted, off=round(predicted / measured - 1, 4))
            for term, measured, predicted, _ in compared.pairs()
            if measured > 0
        ]
    return tuple(found)
