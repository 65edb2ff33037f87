"""The proof of a fix: the mended file is read again, and nothing but the mended flags may differ."""

from collections.abc import Sequence
from pathlib import Path

from vllm_opt.optimizer.linter.fixes.correction import Correction
from vllm_opt.optimizer.serve_lines.commands import ServeCommand
from vllm_opt.optimizer.serve_lines.files.sources import SourceFile, read_text
from vllm_opt.optimizer.serve_lines.flags import parse_flags
from vllm_opt.optimizer.serve_lines.parsed_command import ParsedCommand
from vllm_opt.optimizer.serve_lines.shell.shell import serve_commands
from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.nouns.engine import EngineProfile


def read_again(source: SourceFile, text: str) -> tuple[ServeCommand, ...] | None:
    """The commands of the mended text, by the reader that read the original; None when it cannot be read."""
    if source.folder is None:
        try:
            return tuple(serve_commands(text))
        except InvalidRequest:
            return None
    again = read_text(text, source.name, Path(source.folder))
    return again.commands if len(again.unread) <= len(source.unread) else None


def as_meant(correction: Correction, again: ServeCommand) -> bool:
    """Whether the command that was read again is the one that the correction meant, word for word."""
    wanted = [word.text for word in correction.words()]
    found = [word.text for word in again.arguments]
    if correction.command.entry == "config":
        return _settings(wanted) == _settings(found)
    kept_entry = correction.command.repeated_entry and not correction.entry_dropped
    return wanted == found and bool(kept_entry) == bool(again.repeated_entry)


def _settings(texts: Sequence[str]) -> list[tuple[str, ...]]:
    """Flags of a config file, each with its values: their order does not count."""
    groups: list[list[str]] = []
    for text in texts:
        if text.startswith("--") or not groups:
            groups.append([text])
        else:
            groups[-1].append(text)
    return sorted(map(tuple, groups))


def no_new_problem(parsed: ParsedCommand, again: ServeCommand, engine: EngineProfile) -> bool:
    """Whether the release's parser finds fewer faults than before, and no other ones."""
    mended = parse_flags(again.arguments, engine, positional_model=again.positional_model, wrapper=again.wrapper_flags)
    before = [(problem.rule, problem.flag) for problem in parsed.problems if problem.level == "error"]
    after = [(problem.rule, problem.flag) for problem in mended.problems if problem.level == "error"]
    return all(fault in before for fault in after) and len(after) <= len(before)
