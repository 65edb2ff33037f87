"""One command: read with its release's flags, checked, and corrected."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vllm_opt.optimizer.contract.answer import Estimate
from vllm_opt.optimizer.linter.checks.defaults import default_findings
from vllm_opt.optimizer.linter.checks.environment import environment_findings, left_out_findings
from vllm_opt.optimizer.linter.checks.flags import flag_findings, parser_refusal
from vllm_opt.optimizer.linter.checks.json_keys import json_key_findings
from vllm_opt.optimizer.linter.checks.layout import layout_findings
from vllm_opt.optimizer.linter.checks.model import model_findings, no_model
from vllm_opt.optimizer.linter.checks.placement import other_hardware, placement_findings
from vllm_opt.optimizer.linter.checks.pool import pool_findings
from vllm_opt.optimizer.linter.checks.release_rules import release_rule_findings
from vllm_opt.optimizer.linter.checks.speed import speed_findings
from vllm_opt.optimizer.linter.checks.startup import startup_findings
from vllm_opt.optimizer.linter.checks.unresolved import depending, in_doubt, matters, plugin_of, unresolved_findings
from vllm_opt.optimizer.linter.fixes.correction import Correction, corrected, one_line
from vllm_opt.optimizer.linter.fixes.file_fixes import described
from vllm_opt.optimizer.linter.fixes.safety import lowers_quality, safe_to_fix
from vllm_opt.optimizer.linter.optimum import optima
from vllm_opt.optimizer.linter.subject.context import FLAGS, LintContext
from vllm_opt.optimizer.linter.subject.feature_fields import LeftOut, with_features
from vllm_opt.optimizer.linter.subject.fields import estimate_fields, gpus_of
from vllm_opt.optimizer.linter.subject.releases import ReadRelease, release_of
from vllm_opt.optimizer.linter.subject.report import CommandReport, Finding, Optimum
from vllm_opt.optimizer.linter.subject.request import LintRequest
from vllm_opt.optimizer.linter.subject.served_model import ServedModel, served_model
from vllm_opt.optimizer.linter.worth import worse_than_before
from vllm_opt.optimizer.serve_lines.commands import ServeCommand
from vllm_opt.optimizer.serve_lines.config_file import with_config_file
from vllm_opt.optimizer.serve_lines.flags import parse_flags
from vllm_opt.optimizer.serve_lines.parsed_command import ParsedCommand
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.errors import InvalidRequest, VllmOptError
from vllm_opt.profiles.nouns.engine import EngineProfile
from vllm_opt.profiles.nouns.gpu import GpuProfile

LEVELS = ("error", "warning", "note", "advice")
MOST_ARGUMENTS = 1000


@dataclass(frozen=True)
class ReadCommand:
    """A command read with the flags of its release."""

    command: ServeCommand
    parsed: ParsedCommand
    release: ReadRelease
    gpu: GpuProfile | None
    config_note: str

    @property
    def engine(self) -> EngineProfile:
        """The profile whose flags were used."""
        return self.release.engine


@dataclass(frozen=True)
class Checked:
    """What was found, and the correction that --fix would make."""

    read: ReadCommand
    report: CommandReport
    correction: Correction
    withheld: str = ""
    """Why the correction is not made."""


def read_command(
    request: LintRequest, command: ServeCommand, folder: Path | None, catalog: Catalog, gpu_name: str | None
) -> ReadCommand:
    """Read a command's words with the flags of its release.

    Raises:
        InvalidRequest: too many words, a --config file that is no file of flags, or a release that cannot be read.
        UnknownProfile: the GPU is not in the catalogue.
    """
    release = release_of(request, command, catalog)
    command, config_note = with_config_file(command, folder, release.engine)
    if len(command.arguments) > MOST_ARGUMENTS:
        raise InvalidRequest(
            f"a vLLM command of {len(command.arguments):,} words is no command; give at most {MOST_ARGUMENTS:,}"
        )
    parsed = _parsed(command, command.arguments, release.engine)
    return ReadCommand(command, parsed, release, catalog.gpu(gpu_name) if gpu_name else None, config_note)


def _parsed(command: ServeCommand, words: Iterable[Any], engine: EngineProfile) -> ParsedCommand:
    return parse_flags(list(words), engine, positional_model=command.positional_model, wrapper=command.wrapper_flags)


def check(request: LintRequest, read: ReadCommand, catalog: Catalog) -> Checked:
    """Judge one command: its flags, then its model and memory, then what surrounds it."""
    findings = [*flag_findings(read.command, read.parsed, read.release), *json_key_findings(read.parsed, read.engine)]
    parsed = _as_corrected(read, findings)
    findings += unresolved_findings(read.command, read.parsed, read.config_note)
    given = estimate_fields(parsed)
    name = request.model or parsed.model
    served = ServedModel(None)
    if name is None and not read.parsed.model_unresolved and not read.parsed.open_words and not read.config_note:
        findings.append(no_model(read.command))
    elif name is not None:
        served = _served(name, given, read, catalog)
        findings += model_findings(read.command, parsed, served)
    judged = read.gpu is not None and not other_hardware(read.command, read.gpu)
    context = LintContext(
        request, read.command, parsed, read.engine, read.gpu or catalog.gpus[0], catalog, given, dict(given)
    )
    log: tuple[str, ...] = ()
    estimate: Estimate | None = None
    found: tuple[Optimum, ...] = ()
    left_out: dict[str, LeftOut] = {}
    if served.name is not None and judged:
        fields = {**given, "model": served.name, "quantization": served.quantization}
        fields |= {"quantize_at_load": True} if served.at_load else {}
        context, left_out = with_features(context, fields)
        given = {name: value for name, value in given.items() if name not in left_out}
        log = context.estimate().startup_log
        refused, context = startup_findings(context)
        findings += refused
        estimate = context.estimate()
        if not matters(read.parsed, read.config_note):
            findings += _advice(context, estimate)
        found = tuple(optima(context, estimate, gpus_of(context.fields))) if request.optimum else ()
        findings += release_rule_findings(replace(context, fields={**context.fields, **given}), parsed)
    else:
        findings += release_rule_findings(context, parsed)
    findings += placement_findings(context)
    findings += environment_findings(context)
    findings += left_out_findings(context, left_out)
    if judged:
        findings += default_findings(replace(context, fields={**context.fields, **given}))
    findings = depending(findings, read.parsed, read.config_note)
    findings = in_doubt(findings, read.command, request.vllm_version, read.release.stands_in)
    return _checked(read, context, served, _sorted(findings), log, estimate, found)


def _served(name: str, given: dict[str, Any], read: ReadCommand, catalog: Catalog) -> ServedModel:
    try:
        served = served_model(name, given.pop("quantization", None), read.engine, catalog)
        if served.name is not None:
            catalog.model(served.name)
    except VllmOptError as error:
        return ServedModel(None, note=str(error))
    return served


def _as_corrected(read: ReadCommand, findings: list[Finding]) -> ParsedCommand:
    """The command once what its parser rejects is mended: that is what the estimate is about."""
    if not any(finding.level == "error" for finding in findings):
        return read.parsed
    correction = corrected(read.command, read.parsed, findings, everything=False, safely=False)
    return _parsed(read.command, correction.placed_words(), read.engine)


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
        if finding.rule in ("value_out_of_range", "unknown_json_key", "flag_conflict") and finding.level == "error":
            return ()
    return log


def compatible(context: LintContext, findings: Iterable[Finding]) -> list[Finding]:
    """The findings whose changes start together: each is added unless vLLM then refuses, or answers get less exact."""
    names = {flag: name for name, flag in FLAGS.items()}
    kept = []
    for finding in findings:
        changes = {names[change.flag]: change.to for change in finding.changes if change.flag in names}
        if any(lowers_quality(change) for change in finding.changes):
            continue
        if finding.level != "error" and changes:
            if not context.starts(changes):
                continue
            context = context.with_changes(changes)
        kept.append(finding)
    return kept


def _checked(
    read: ReadCommand, context: LintContext, served: ServedModel, findings: tuple[Finding, ...], log: tuple[str, ...],
    estimate: Estimate | None, found: tuple[Optimum, ...],
) -> Checked:  # fmt: skip
    everything = context.request.fix == "all"
    applied = compatible(context, findings) if everything and estimate is not None else findings
    correction = corrected(read.command, read.parsed, applied, everything=everything)
    withheld = worse_than_before(context, correction) if estimate is not None else ""
    if withheld:
        correction = Correction(read.command, read.parsed)
    refusal = parser_refusal(read.command, read.parsed, findings)
    errors = any(finding.level == "error" and finding.rule != "max_model_len_below_need" for finding in findings)
    unsure = matters(read.parsed, read.config_note) or plugin_of(read.parsed) is not None
    doubtful = read.command.unversioned and context.request.vllm_version is None
    refusal = refusal if errors else None
    starts = False if refusal or errors else None if unsure or doubtful or estimate is None else True
    report = CommandReport(
        place=read.command.place,
        line=read.command.line,
        command=one_line(read.command, [word for word in read.command.arguments if not word.source]),
        model=served.base or served.name,
        gpu=read.gpu.id if read.gpu is not None else None,
        gpu_count=gpus_of(context.given),
        vllm_version=read.engine.version,
        release=read.release.asked if read.release.note else None,
        starts=starts,
        unresolved=(*read.parsed.unresolved, *(("--config",) if read.config_note else ())),
        startup_log=(refusal,) if refusal else () if starts is None else _stopped_before(findings, log),
        findings=tuple(_with_fix(finding, read) for finding in findings),
        optima=found,
        fixed_command=one_line(read.command, correction.words()),
        memory=estimate.memory if estimate is not None else None,
        performance=estimate.performance if estimate is not None else None,
        notes=(
            *((read.release.note,) if read.release.note else ()),
            *((read.config_note,) if read.config_note else ()),
            *(estimate.notes if estimate is not None else ()),
        ),
    )
    return Checked(read, report, correction, withheld)


def _with_fix(finding: Finding, read: ReadCommand) -> Finding:
    """A finding with its own change as edits of the file."""
    bare = ParsedCommand(
        read.parsed.model, read.parsed.model_word, read.parsed.uses,
        tuple(
            problem
            for problem in read.parsed.problems
            if problem.words[0].line == finding.line and problem.flag == (finding.flag or "")
        ),
        read.parsed.open_words, read.parsed.unknown_values, read.parsed.model_unresolved,
    )  # fmt: skip
    correction = corrected(read.command, bare, [finding], everything=True, safely=False)
    safe = safe_to_fix(finding, read.command, read.parsed)
    whole = all(word.editable for word in _touched(correction))
    fix = described(correction, safe=safe) if whole else None
    return finding.model_copy(update={"fix": fix}) if fix is not None else finding


def _touched(correction: Correction) -> list[Any]:
    return [correction.command.arguments[index] for index in correction.replaced]
