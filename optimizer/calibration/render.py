"""A calibration report as text: what was read, the terms that are off most, what was learned."""

from collections.abc import Iterator

from vllm_opt.optimizer.calibration.report import CalibrationReport, Comparison, SourceReport
from vllm_opt.profiles.nouns.own_calibration import GpuCalibration, MemoryTerm, SpeedTerm
from vllm_opt.profiles.reading.quantities import counted

GIB = 1 << 30
MOST_ROWS = 40
NAMES = {"step": "step time", "prefill": "prefill", "memory": "memory reads", "compute": "compute", "host": "host",
         "frontend": "front end", "activation": "activation peak", "graphs": "CUDA graphs"}  # fmt: skip


def render_calibration(report: CalibrationReport) -> str:
    """The report for a terminal, at most 80 columns but for names."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: CalibrationReport) -> Iterator[str]:
    yield "Read"
    for source in report.sources:
        yield from _source_lines(source)
    if report.comparisons:
        yield ""
        yield f"{'Measured against predicted':<46}{'measured':>12}{'predicted':>12}{'off':>8}"
        last = ""
        for one in report.comparisons[:MOST_ROWS]:
            title = f"{one.model} on {one.gpu}: {one.what}"
            if title != last:
                yield f"  {title}"
                last = title
            yield f"    {one.term:<42}{_amount(one, one.measured):>12}{_amount(one, one.predicted):>12}{_off(one):>8}"
        if len(report.comparisons) > MOST_ROWS:
            yield f"  and {len(report.comparisons) - MOST_ROWS} more; --format json lists all"
    if report.gains:
        yield ""
        yield "Typical error of all points       before   after  points"
        for gain in report.gains:
            yield f"  {gain.term:<30}{gain.before:>8.1%}{gain.after:>8.1%}{gain.points:>8}"
    if report.learned:
        yield ""
        yield "Learned (measured over predicted)"
        for gpu in report.learned:
            yield from _learned_lines(gpu)
    yield ""
    if report.written:
        yield f"Kept in {report.calibration_file}; later answers use it and say so."
    else:
        yield f"Nothing was written to {report.calibration_file}."
    for note in report.notes:
        yield f"Note: {note}"


def _source_lines(source: SourceReport) -> Iterator[str]:
    found = counted(source.used, "start" if source.kind == "startup log" else "point")
    parts = [f"{source.kind}, {found} compared"]
    if source.lines is not None:
        parts.append(f"{counted(source.lines, 'line')}, {source.lines_not_understood} about memory not understood")
    yield f"  {source.file}: {'; '.join(parts)}"
    for reason, number in source.unused.items():
        yield f"    not used ({number}): {reason}"
    for line in source.examples:
        yield f"    not understood: {line}"


def _amount(one: Comparison, value: float) -> str:
    if one.unit == "bytes":
        return f"{value / GIB:,.2f} GiB"
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:,.4g}"
    return f"{text} {one.unit}".rstrip().replace("tokens/s", "tok/s")


def _off(one: Comparison) -> str:
    return f"{one.predicted / one.measured - 1:+.0%}" if one.measured else "-"


def _learned_lines(gpu: GpuCalibration) -> Iterator[str]:
    for speed in gpu.speed:
        yield f"  {gpu.gpu}, {_speed_scope(speed)}: {_factors(speed)}"
    for memory in gpu.memory:
        yield f"  {gpu.gpu}, {memory.model or 'every model'}, TP {memory.tensor_parallel_size}: {_memory(memory)}"


def _speed_scope(term: SpeedTerm) -> str:
    what = "every model" if term.shape is None else f"{term.shape} {term.path} TP {term.tensor_parallel_size}"
    return f"{what}, {counted(term.points, 'point')}"


def _factors(term: SpeedTerm) -> str:
    moved = {name: value for name, value in term.factors.model_dump().items() if value != 1.0}
    return ", ".join(f"{NAMES[name]} x {value:.3g}" for name, value in moved.items()) or "as shipped"


def _memory(term: MemoryTerm) -> str:
    parts = [
        f"{NAMES[name]} x {getattr(term, name):.3g}" for name in ("activation", "graphs") if getattr(term, name) != 1
    ]
    if term.non_torch_bytes:
        parts.append(f"non-torch memory {term.non_torch_bytes / GIB:+.2f} GiB")
    return (", ".join(parts) or "as shipped") + f", {counted(term.logs, 'log')}"
