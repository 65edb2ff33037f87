"""A verification as text: the commands and limits, or the verdict with the term that was wrong."""

from collections.abc import Iterator

from vllm_opt.optimizer.verification.report import Check, ServiceVerification, Verification
from vllm_opt.profiles.reading.quantities import counted

NAMES = {"ttft_ms": "time to first token", "tpot_ms": "time per output token", "output_tokens_per_s": "output"}
WORDS = {"to_run": "Nothing measured yet", "passed": "PASSED", "missed": "MISSED"}
SHORT = {"interval": "predicted", "limit of the request": "asked"}


def render_verification(answer: Verification) -> str:
    """For a terminal."""
    return "\n".join(_lines(answer)) + "\n"


def _lines(answer: Verification) -> Iterator[str]:
    yield WORDS[answer.status]
    for service in answer.services:
        yield ""
        yield from _service(service)
    for note in answer.notes:
        yield f"Note: {note}"


def _service(service: ServiceVerification) -> Iterator[str]:
    verdict = {True: "passed", False: "missed", None: "to be measured"}[service.passed]
    yield f"{service.name}: {service.model} on {counted(service.benchmark.gpus, 'GPU')} ({service.gpu}): {verdict}"
    yield f"  {'':<22}{'predicted':>12}  {'passes':<16}{'measured':>12}{'off':>8}"
    for check in service.checks:
        yield f"  {NAMES[check.term]:<22}{_figure(check, check.predicted):>12}  {_limit(check):<16}{_measured(check)}"
    sources = sorted({check.limit_from for check in service.checks})
    yield f"  limits: {'; '.join(sources)}"
    if service.blame is not None:
        yield f"  which term was wrong: {service.blame.message}"
    for term in service.memory:
        yield f"  log, {term.term}: measured {term.measured:,.4g}, predicted {term.predicted:,.4g} ({term.off:+.1%})"
    for note in service.notes:
        yield f"  note: {note}"
    if service.passed is None:
        bench = service.benchmark
        yield f"  Measure it ({counted(bench.requests, 'request')}, about {bench.minutes:g} minutes):"
        yield f"    {bench.command}"
        yield "  or with GuideLLM:"
        yield f"    {bench.guidellm_command}"
        yield "  then: vllm-opt verify PLAN --results FILE; or let it measure with --run --base-url URL"
    elif service.results:
        yield f"  measured in {', '.join(service.results)}"


def _figure(check: Check, value: float) -> str:
    return f"{value:,.0f} tok/s" if check.term == "output_tokens_per_s" else f"{value:,.1f} ms"


def _limit(check: Check) -> str:
    sign = ">=" if check.term == "output_tokens_per_s" else "<="
    return f"{sign} {_figure(check, check.limit)}"


def _measured(check: Check) -> str:
    if check.measured is None or check.off is None:
        return f"{'-':>12}"
    return f"{_figure(check, check.measured):>12}{check.off:>+8.0%}  {'ok' if check.passed else 'MISSED'}"
