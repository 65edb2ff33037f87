"""`lint`: is this vLLM command right for this GPU, does it start, and what would be better."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from vllm_opt.optimizer.contract.answer import Estimate
from vllm_opt.optimizer.linter.checks.defaults import default_findings
from vllm_opt.optimizer.linter.checks.environment import environment_findings, graphs_switched_off, left_out_findings
from vllm_opt.optimizer.linter.checks.flags import flag_findings, parser_refusal
from vllm_opt.optimizer.linter.checks.layout import layout_findings
from vllm_opt.optimizer.linter.checks.model import model_findings, no_model
from vllm_opt.optimizer.linter.checks.pool import pool_findings
from vllm_opt.optimizer.linter.checks.speed import speed_findings
from vllm_opt.optimizer.linter.checks.startup import startup_findings
from vllm_opt.optimizer.linter.fix import compatible, corrected, edited, one_line
from vllm_opt.optimizer.linter.fix_yaml import Edit
from vllm_opt.optimizer.linter.optimum import optima
from vllm_opt.optimizer.linter.subject.catalog import ReadOnceCatalog
from vllm_opt.optimizer.linter.subject.context import FIELDS, LintContext
from vllm_opt.optimizer.linter.subject.feature_fields import with_features
from vllm_opt.optimizer.linter.subject.report import CommandReport, Finding, LintReport, Optimum
from vllm_opt.optimizer.linter.subject.request import LintRequest
from vllm_opt.optimizer.linter.subject.served_model import ServedModel, served_model
from vllm_opt.optimizer.serve_lines.commands import ServeCommand, serve_commands
from vllm_opt.optimizer.serve_lines.config_file import with_config_file
from vllm_opt.optimizer.serve_lines.flags import parse_flags
from vllm_opt.optimizer.serve_lines.parsed_command import ParsedCommand
from vllm_opt.optimizer.serve_lines.sources import SourceFile, read_source
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.nouns.engine import EngineProfile
from vllm_opt.profiles.nouns.gpu import GpuProfile

LEVELS = ("error", "warning", "note")
MOST_COMMANDS = 100
MOST_ARGUMENTS = 1000
NO_GPU = "no GPU is named: add --gpu SKU, for example --gpu h100-sxm; `vllm-opt gpus` lists them"


def lint(request: LintRequest, catalog: Catalog | None = None) -> LintReport:
    """Check every command that starts a vLLM server in a line, script, compose or Kubernetes file.

    Raises:
        InvalidRequest: no such command, no GPU, or text that cannot be read.
        UnknownProfile: a GPU or release that the catalogue does not hold.
    """
    catalog = ReadOnceCatalog(catalog or Catalog(gpu_file=request.gpu_file))
    source = _source(request)
    if len(source.commands) > MOST_COMMANDS:
        raise InvalidRequest(
            f"{len(source.commands)} vLLM commands in one file are too many; give at most {MOST_COMMANDS}"
        )
    checked = [_check(request, command, source, catalog) for command in source.commands]
    reports = tuple(report for report, _ in checked)
    counts = {
        level: sum(finding.level == level for report in reports for finding in report.findings) for level in LEVELS
    }
    return LintReport(
        file=request.file,
        errors=counts["error"],
        warnings=counts["warning"],
        notes=counts["note"],
        commands=reports,
        fixed_text=edited(source.text, [edit for _, edits in checked for edit in edits]),
    )


def lint_command(
    text: str, gpu: str | None = None, vllm_version: str | None = None, *, catalog: Catalog | None = None, **load: Any
) -> LintReport:
    """Check one command or script; further keywords are the fields of a `LintRequest`.

    Raises:
        InvalidRequest: as `lint`.
        UnknownProfile: as `lint`.
    """
    return lint(LintRequest(command=text, gpu=gpu, vllm_version=vllm_version, **load), catalog)


def _source(request: LintRequest) -> SourceFile:
    if request.file is not None:
        return read_source(request.file)
    text = request.command or ""
    commands = serve_commands(text)
    if not commands:
        shown = " ".join(text.split())[:60]
        raise InvalidRequest(
            f"no command that starts a vLLM server in '{shown}'; give it as \"vllm serve MODEL --flag …\", "
            "or a file with --file"
        )
    return SourceFile(text, tuple(commands), None)


@dataclass(frozen=True)
class _Read:
    """A command read with the flags of its release."""

    command: ServeCommand
    parsed: ParsedCommand
    engine: EngineProfile
    gpu: GpuProfile
    note: str | None


def _check(
    request: LintRequest, command: ServeCommand, source: SourceFile, catalog: Catalog
) -> tuple[CommandReport, list[Edit]]:
    read = _read(request, command, source, catalog)
    findings = list(flag_findings(read.command, read.parsed, read.engine))
    parsed = _as_corrected(read, findings)
    given = _fields(parsed)
    name = request.model or parsed.model
    served = ServedModel(None)
    if name is None:
        findings.append(no_model(read.command))
    else:
        served = served_model(name, given.pop("quantization", None), read.engine, catalog)
        findings += model_findings(read.command, parsed, served)
    context = LintContext(request, read.command, parsed, read.engine, read.gpu, catalog, given, dict(given))
    log: tuple[str, ...] = ()
    estimate: Estimate | None = None
    found: tuple[Optimum, ...] = ()
    left_out: dict[str, str] = {}
    if served.name is not None:
        fields = {**given, "model": served.name, "quantization": served.quantization}
        fields |= {"quantize_at_load": True} if served.at_load else {}
        context, left_out = with_features(context, fields)
        given = {name: value for name, value in given.items() if name not in left_out}
        log = context.estimate().startup_log
        refused, context = startup_findings(context)
        findings += refused
        estimate = context.estimate()
        findings += _advice(context, estimate)
        gpus = _gpus(context.fields)
        found = tuple(optima(context, estimate, gpus)) if request.optimum else ()
    findings += environment_findings(context)
    findings += left_out_findings(context, left_out)
    findings += default_findings(replace(context, fields={**context.fields, **given}))
    return _report(read, context, served, _sorted(findings), log, estimate, found)


def _read(request: LintRequest, command: ServeCommand, source: SourceFile, catalog: Catalog) -> _Read:
    version = request.vllm_version or command.image_version
    engine_name = request.engine or ("v0" if command.environment.get("VLLM_USE_V1") == "0" else None)
    try:
        engine, note = catalog.engine(version, engine_name)
    except InvalidRequest:
        if request.engine is not None:
            raise
        engine, note = catalog.engine(version)
    gpu_name = request.gpu or command.gpu
    if gpu_name is None:
        raise InvalidRequest(NO_GPU)
    command = with_config_file(command, source.folder, engine)
    if len(command.arguments) > MOST_ARGUMENTS:
        raise InvalidRequest(
            f"a vLLM command of {len(command.arguments):,} words is no command; give at most {MOST_ARGUMENTS:,}"
        )
    parsed = parse_flags(command.arguments, engine, positional_model=command.entry != "api_server")
    return _Read(command, parsed, engine, catalog.gpu(gpu_name), note)


def _as_corrected(read: _Read, findings: list[Finding]) -> ParsedCommand:
    """The command once what its parser rejects is mended: that is what the estimate is about."""
    if not any(finding.level == "error" for finding in findings):
        return read.parsed
    correction = corrected(read.command, read.parsed, findings, everything=False)
    positional = read.command.entry != "api_server"
    return parse_flags(correction.placed_words(), read.engine, positional_model=positional)


def _fields(parsed: ParsedCommand) -> dict[str, Any]:
    """The flags that an estimate understands; the last of each counts."""
    fields = {FIELDS[use.name]: use.value for use in parsed.uses if use.name in FIELDS}
    if graphs_switched_off({use.name: use.value for use in parsed.uses}):
        fields["enforce_eager"] = True
    return {
        name: value for name, value in fields.items() if value is not False or name.startswith(("enable_", "async_"))
    }


def _gpus(fields: dict[str, Any]) -> int:
    sizes = (fields.get(f"{kind}_parallel_size", 1) for kind in ("tensor", "pipeline", "data"))
    product = 1
    for size in sizes:
        product *= int(size)
    return product


def _advice(context: LintContext, estimate: Estimate) -> list[Finding]:
    """Improvements of a configuration that starts."""
    if not estimate.fits:
        return []
    return [
        *pool_findings(context, estimate),
        *layout_findings(context, estimate),
        *speed_findings(context, estimate),
    ]


def _sorted(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Errors first; within a level in the order of the checks."""
    return tuple(sorted(findings, key=lambda finding: LEVELS.index(finding.level)))


def _stopped_before(findings: Iterable[Finding], log: tuple[str, ...]) -> tuple[str, ...]:
    """What is printed when a value or the checkpoint is refused before the memory is planned."""
    for finding in findings:
        if finding.rule == "quantization_without_checkpoint" and "Cannot find" in finding.message:
            return (f"ValueError: Cannot find the config file for {finding.from_value}",)
        if finding.rule in ("quantization_without_checkpoint", "missing_companion"):
            return (finding.message.partition(";")[0],)
        if finding.rule == "value_out_of_range":
            return ()
    return log


def _report(
    read: _Read, context: LintContext, served: ServedModel, findings: tuple[Finding, ...], log: tuple[str, ...],
    estimate: Estimate | None, found: tuple[Optimum, ...],
) -> tuple[CommandReport, list[Edit]]:  # fmt: skip
    everything = context.request.fix == "all"
    applied = compatible(context, findings) if everything and estimate is not None else findings
    correction = corrected(read.command, read.parsed, applied, everything=everything)
    refusal = parser_refusal(read.command, read.parsed)
    errors = any(finding.level == "error" and finding.rule != "max_model_len_below_need" for finding in findings)
    report = CommandReport(
        place=read.command.place,
        line=read.command.line,
        command=one_line(read.command, [word.text for word in read.command.arguments if not word.source]),
        model=served.base or served.name,
        gpu=read.gpu.id,
        gpu_count=_gpus(context.given),
        vllm_version=read.engine.version,
        starts=not errors if served.name is not None else (False if refusal else None),
        startup_log=(refusal,) if refusal else _stopped_before(findings, log),
        findings=findings,
        optima=found,
        fixed_command=one_line(read.command, correction.words()),
        memory=estimate.memory if estimate is not None else None,
        performance=estimate.performance if estimate is not None else None,
        notes=(*((read.note,) if read.note else ()), *(estimate.notes if estimate is not None else ())),
    )
    return report, correction.edits()
