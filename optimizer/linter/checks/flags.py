"""Findings about the flags themselves: what the release's parser rejects, or reads differently than it looks."""

from collections.abc import Iterable, Iterator

from vllm_opt.optimizer.contract.request import EstimateRequest
from vllm_opt.optimizer.linter.checks.unresolved import OWN_PARSERS, PLUGIN_METHODS, plugin_of
from vllm_opt.optimizer.linter.subject.context import FEATURE_FIELDS, FIELDS
from vllm_opt.optimizer.linter.subject.releases import ReadRelease
from vllm_opt.optimizer.linter.subject.report import Change, Finding
from vllm_opt.optimizer.serve_lines.commands import ServeCommand
from vllm_opt.optimizer.serve_lines.flag_history import dropped_since, explain_unknown, uncertain_release
from vllm_opt.optimizer.serve_lines.parsed_command import FlagProblem, FlagUse, ParsedCommand
from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.nouns.engine import EngineProfile

REPEATABLE = frozenset(("lora-modules", "middleware", "api-key", "logits-processors", "allowed-media-domains"))


def flag_findings(command: ServeCommand, parsed: ParsedCommand, release: ReadRelease) -> Iterator[Finding]:
    """What parsing found, then values out of range, then flags given twice."""
    engine, plugin = release.engine, plugin_of(parsed)
    yield from _entry_point(command)
    yield from _cut_lines(command)
    for problem in parsed.problems:
        yield _of_problem(problem, release, command, plugin)
    yield from _perhaps_gone(parsed, release)
    for use in parsed.uses:
        yield from _out_of_range(use)
    yield from _repeated(parsed)
    yield from _config_not_read(parsed)
    yield from _needs_another(command, parsed, engine)


def parser_refusal(command: ServeCommand, parsed: ParsedCommand, findings: Iterable[Finding]) -> str | None:
    """The line with which the release's parser stops, or None when it accepts the command."""
    program = "api_server.py" if command.entry == "api_server" else "vllm serve"
    doubted = {finding.flag for finding in findings if finding.rule in ("release_not_known", "plugin_flag")}
    errors = [problem for problem in parsed.problems if problem.level == "error" and problem.flag not in doubted]
    if command.repeated_entry:
        return f"{program.partition(' ')[0]}: error: unrecognized arguments: {command.arguments[0].text}" if (
            command.arguments
        ) else None  # fmt: skip
    for problem in errors:
        if problem.message.startswith(("argument ", "ambiguous option")):
            return f"{program}: error: {problem.message.partition(';')[0]}"
    left = [problem for problem in errors if problem.rule != "typographic_dash"] or errors
    if not left:
        return None
    words = " ".join(word.text for problem in left for word in problem.words)
    return f"{program.partition(' ')[0]}: error: unrecognized arguments: {words}"


def _entry_point(command: ServeCommand) -> Iterator[Finding]:
    if not command.repeated_entry:
        return
    words = " ".join(word.text for word in command.repeated_entry)
    yield Finding(
        rule="repeated_entry_point",
        level="error",
        message=f"the image's entry point is the server already: '{words}' becomes its first arguments, so the server "
        f"stops; leave '{words}' out",
        line=max(1, command.repeated_entry[0].line),
    )


def _cut_lines(command: ServeCommand) -> Iterator[Finding]:
    for word in command.cut_lines:
        yield Finding(
            rule="broken_continuation",
            level="error",
            message="a blank follows the backslash at the end of this line, so the shell ends the command here and "
            "takes the next line for a command of its own; take the blank away",
            line=word.line,
        )


def _perhaps_gone(parsed: ParsedCommand, release: ReadRelease) -> Iterator[Finding]:
    """Flags of a stand-in that the next known release lacks: the release asked may have lost them, too."""
    for use in parsed.uses:
        message = dropped_since(use.name, release.engine, release.stands_in)
        if message is not None:
            yield Finding(rule="release_not_known", level="note", message=message, flag=f"--{use.name}",
                          line=max(1, use.words[0].line), source=use.words[0].source)  # fmt: skip


def _by_plugin(problem: FlagProblem, plugin: str | None) -> str | None:
    """A sentence where a plugin may bring what vLLM itself does not have."""
    if plugin is None:
        return None
    if problem.rule in ("unknown_flag", "wrong_choice", "wrong_type", "ambiguous_flag") and plugin in OWN_PARSERS:
        return f"{problem.flag} is read by {plugin}, which brings flags that are not known here: it is not judged"
    if problem.flag == "--quantization" and problem.value in PLUGIN_METHODS:
        return f"--quantization {problem.value} is brought by {plugin}: memory and speed are not judged"
    return None


def _of_problem(problem: FlagProblem, release: ReadRelease, command: ServeCommand, plugin: str | None) -> Finding:
    rule, message, flag, to = problem.rule, problem.message, problem.flag, problem.suggestion
    changes: tuple[Change, ...] = ()
    engine = release.engine
    unsure = uncertain_release(flag.lstrip("-"), engine, release.stands_in) if rule == "unknown_flag" else None
    by_plugin = _by_plugin(problem, plugin)
    if by_plugin is not None or unsure is not None:
        return Finding(
            rule="plugin_flag" if by_plugin is not None else "release_not_known", level="note",
            message=by_plugin or unsure or "", flag=flag, from_value=problem.value,
            line=max(1, problem.words[0].line), source=problem.words[0].source,
        )  # fmt: skip
    if rule == "unknown_flag":
        rule, message, instead = explain_unknown(flag.lstrip("-"), engine)
        if instead is not None:
            changes = (Change(flag=flag, from_value=problem.value or ""), _given(f"--{instead}", problem.value))
        else:
            changes = (Change(flag=flag, from_value=problem.value or True),)
    elif rule in ("wrong_choice", "wrong_type") and to is not None:
        changes = (Change(flag=flag, from_value=problem.value, to=to),)
    elif rule == "flag_takes_no_value" and to is not None:
        changes = (Change(flag=flag, from_value=problem.value, to=not to.startswith("--no-")),)
    elif rule in ("wrong_choice", "wrong_type", "missing_value") and problem.level == "error":
        changes = (Change(flag=flag, from_value=problem.value or True),)
    first = changes[0] if changes else None
    word = problem.words[0]
    return Finding(
        unresolved=tuple(text for each in problem.words for text in each.unresolved),
        rule=rule,
        level="note" if problem.level == "note" else "error",
        message=message,
        flag=flag or None,
        from_value=first.from_value if first else problem.value,
        to=first.to if first else to,
        changes=changes,
        line=word.line if word.line > 0 else command.line,
        source=word.source,
    )


def _given(flag: str, value: str | None) -> Change:
    return Change(flag=flag, to=value if value else True)


def _out_of_range(use: FlagUse) -> Iterator[Finding]:
    name = FIELDS.get(use.name)
    if name is None or name in FEATURE_FIELDS:
        return
    try:
        EstimateRequest(**{name: use.value})
    except InvalidRequest as fault:
        yield Finding(
            rule="value_out_of_range",
            level="error",
            message=f"--{use.name}: {str(fault).partition(': ')[2]}",
            flag=f"--{use.name}",
            from_value=use.value,
            changes=(Change(flag=f"--{use.name}", from_value=use.value),),
            line=max(1, use.words[0].line),
            source=use.words[0].source,
        )


def _repeated(parsed: ParsedCommand) -> Iterator[Finding]:
    by_name: dict[str, list[FlagUse]] = {}
    for use in parsed.uses:
        if "." not in use.words[0].text.partition("=")[0] and use.name not in REPEATABLE:
            by_name.setdefault(use.name, []).append(use)
    for name, uses in by_name.items():
        last, spoken = uses[-1], [use for use in uses if not use.words[0].source and not use.words[0].conditional]
        if len(spoken) < 2:
            continue
        values = [str(use.value) for use in spoken]
        opposite = isinstance(last.value, bool) and len(set(values)) > 1
        shown = ", ".join(use.spelling for use in spoken) if opposite else ", ".join(values)
        yield Finding(
            rule="conflicting_flags" if len(set(values)) > 1 else "duplicate_flag",
            level="warning" if len(set(values)) > 1 else "note",
            message=f"--{name} is given {len(spoken)} times ({shown}); vLLM takes the last: {last.value}; keep one",
            flag=f"--{name}",
            from_value=spoken[0].value,
            to=last.value,
            changes=(Change(flag=f"--{name}", from_value=spoken[0].value, to=last.value),),
            line=max(1, last.words[0].line),
        )


def _config_not_read(parsed: ParsedCommand) -> Iterator[Finding]:
    for use in parsed.uses:
        if use.name == "config" and use.joined:
            yield Finding(
                rule="config_ignored",
                level="error",
                message=(
                    f"vLLM reads a config file only from '--config {use.value}' in two words; "
                    f"'--config={use.value}' is accepted and ignored"
                ),
                flag="--config",
                from_value=use.value,
                to=use.value,
                changes=(Change(flag="--config", from_value=use.value, to=use.value),),
                line=max(1, use.words[0].line),
            )


NEEDED_WITH = {
    "enable-auto-tool-choice": ("tool-call-parser", "TypeError: Error: {flag} requires {other}"),
    "enable-log-outputs": ("enable-log-requests", "TypeError: Error: {flag} requires {other}"),
}
"""Flag -> the flag without which vLLM stops, and its words (0.33 `cli_args.py:validate_parsed_serve_args`)."""


def _needs_another(command: ServeCommand, parsed: ParsedCommand, engine: EngineProfile) -> Iterator[Finding]:
    known = {flag.name for flag in engine.flags}
    for name, (other, words) in NEEDED_WITH.items():
        if parsed.value(name) is True and other in known and not parsed.given(other):
            message = words.format(flag=f"--{name}", other=f"--{other}")
            yield Finding(
                rule="missing_companion",
                level="error",
                message=f"{message}; add --{other}, or drop --{name}",
                flag=f"--{other}",
                line=command.line,
            )
