"""Findings that are not wanted: by code, by level, or by a comment in the file."""

import re

from vllm_opt.optimizer.linter.rules import RULES
from vllm_opt.optimizer.linter.subject.report import Finding
from vllm_opt.optimizer.linter.subject.request import LintRequest
from vllm_opt.profiles.errors import InvalidRequest, did_you_mean

_COMMENT = re.compile(r"(?:#|//|<!--)\s*vllm-opt:\s*ignore(?P<file>-file)?(?:\[(?P<codes>[\w, -]*)\])?")


class Suppressions:
    """The comments `# vllm-opt: ignore[code, …]` of a file; without codes they silence every rule."""

    def __init__(self, text: str) -> None:
        self.by_line: dict[int, frozenset[str]] = {}
        self.alone: set[int] = set()
        self.everywhere: set[str] = set()
        if "vllm-opt:" not in text:
            return
        for number, line in enumerate(text.splitlines(), start=1):
            match = _COMMENT.search(line)
            if match is None:
                continue
            listed = [code.strip().replace("-", "_") for code in (match.group("codes") or "").split(",")]
            codes = frozenset(code for code in listed if code) or frozenset(("all",))
            if match.group("file"):
                self.everywhere |= codes
                continue
            self.by_line[number] = codes
            if not line[: match.start()].strip():
                self.alone.add(number)

    def cover(self, finding: Finding, first: int, last: int) -> bool:
        """Whether a comment silences the finding of a command that stands on these lines.

        A comment behind code speaks for its line; one on a line of its own speaks for the next line that is no such
        comment, and in front of a command for the whole command.
        """
        codes = set(self.everywhere)
        codes |= self.by_line.get(finding.line, frozenset())
        for start in (finding.line, first):
            above = start - 1
            while above in self.alone:
                codes |= self.by_line[above]
                above -= 1
        if first == last:
            codes |= self.by_line.get(first, frozenset())
        return "all" in codes or finding.rule in codes


def check_codes(request: LintRequest) -> None:
    """Refuse a code that names no rule.

    Raises:
        InvalidRequest: --select or --ignore names an unknown rule.
    """
    for option in ("select", "ignore"):
        for code in getattr(request, option):
            if code.replace("-", "_") not in RULES:
                hint = did_you_mean(code, RULES)
                raise InvalidRequest(f"{option}: no rule is called '{code[:60]}'{hint}; docs/lint lists them")


def wanted(finding: Finding, request: LintRequest) -> bool:
    """Whether the request's --select, --ignore and --advice leave the finding in."""
    select = {code.replace("-", "_") for code in request.select}
    ignore = {code.replace("-", "_") for code in request.ignore}
    if finding.rule in ignore or (select and finding.rule not in select):
        return False
    return finding.level != "advice" or request.advice or finding.rule in select
