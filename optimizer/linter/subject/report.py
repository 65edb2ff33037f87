"""What comes back from `lint`: findings per command, what vLLM would print, and the corrected text."""

from typing import Any, Literal

from pydantic import Field

from vllm_opt.optimizer.contract.answer import Memory, Report
from vllm_opt.optimizer.contract.performance import Performance

Level = Literal["error", "warning", "note", "advice"]


class Change(Report):
    """One flag to change. `to` None takes the flag away; `from` None means that it was not there."""

    flag: str = Field(description="with its dashes; 'MODEL' is the model's own argument")
    from_value: Any = Field(None, alias="from")
    to: Any = None

    @property
    def words(self) -> str:
        """What to type."""
        if self.to is None or (self.to is False and self.from_value is True):
            return f"drop {spelled(self.flag, value=self.from_value is not False)}"
        if self.flag == "MODEL":
            return f"serve {self.to}"
        if isinstance(self.to, bool):
            return f"{'add' if self.from_value is None else 'write'} {spelled(self.flag, value=self.to)}"
        verb = "add" if self.from_value is None else "set"
        return f"{verb} {self.flag} {self.to}"


def spelled(flag: str, *, value: bool) -> str:
    """A switch as it is typed."""
    return flag if value else f"--no-{flag.removeprefix('--')}"


class TextEdit(Report):
    """Replace the text between two places; lines and columns count from 1, in characters."""

    start_line: int
    start_column: int
    end_line: int
    end_column: int
    text: str


class Fix(Report):
    """What to change in the file. `safe` fixes are made by --fix, the others are shown only."""

    safe: bool
    edits: tuple[TextEdit, ...]


class Finding(Report):
    """One problem or improvement: the rule, the flag to change, and what that gains."""

    rule: str
    level: Level
    message: str = Field(description="what is wrong, with the numbers")
    flag: str | None = Field(None, description="the flag to change, with its dashes")
    from_value: Any = Field(None, alias="from")
    to: Any = None
    changes: tuple[Change, ...] = Field((), description="every flag to change, the first one included")
    gain: dict[str, tuple[float, float]] = Field(
        default_factory=dict, description="figure -> before and after, by estimating both"
    )
    gain_text: str = ""
    alternatives: tuple[str, ...] = Field((), description="other changes that alone would do")
    line: int = 1
    source: str = Field("", description="name of the --config file when the flag stands there")
    unresolved: tuple[str, ...] = Field((), description="what nobody filled in and the finding depends on")
    file: str | None = Field(None, description="the file it stands in")
    fix: Fix | None = Field(
        None, description="the change as edits of the file; null where its text must not be touched"
    )


class Optimum(Report):
    """The solver's best deployment on the same GPUs."""

    title: str
    command: str
    checkpoint: str | None
    output_tokens_per_s: float
    counted_in: str = Field("output tokens", description="what the rate counts: inputs where a prompt is the request")
    max_concurrency: float = Field(description="full-length sequences in all replicas")
    throughput_gain: float | None = Field(description="relative, against the command as it is or as corrected")
    concurrency_gain: float | None
    status: str
    replicas: int = 1
    notes: tuple[str, ...] = ()


class CommandReport(Report):
    """One command that starts a vLLM server."""

    place: str = Field("", description="where in the file it stands")
    line: int = 1
    command: str = Field(description="the command on one line, as it was understood")
    model: str | None
    gpu: str | None = Field(description="null: none was named, so memory is not checked")
    gpu_count: int
    vllm_version: str = Field(description="the release whose rules were applied")
    release: str | None = Field(None, description="the release asked for, where another one stands for it")
    starts: bool | None = Field(
        description="vLLM starts as the command stands; null: the model or a value that matters is not known"
    )
    unresolved: tuple[str, ...] = Field((), description="variables and templates that nothing here fills in")
    file: str | None = None
    startup_log: tuple[str, ...] = Field((), description="what vLLM would print, or the error it would raise")
    findings: tuple[Finding, ...] = ()
    optima: tuple[Optimum, ...] = ()
    fixed_command: str
    withheld: str = Field("", description="why no fix was made although one was found")
    memory: Memory | None = Field(None, description="of the corrected command")
    performance: Performance | None = None
    notes: tuple[str, ...] = ()


class FixedFile(Report):
    """One input with its fixes in."""

    file: str
    fixed_text: str


class Unread(Report):
    """A file or a part of one that was passed over."""

    file: str | None
    line: int
    reason: str


class LintReport(Report):
    """The answer to a `LintRequest`."""

    schema_name: str = Field("vllm-opt/lint/1", alias="schema")
    file: str | None = None
    errors: int = 0
    warnings: int = 0
    notes: int = 0
    advice: int = 0
    suppressed: int = Field(0, description="findings that a comment, --ignore or --select silenced")
    commands: tuple[CommandReport, ...] = ()
    files: tuple[FixedFile, ...] = Field((), description="every input, where there are several")
    unread: tuple[Unread, ...] = Field((), description="what could not be read, and why")
    fixed_text: str = Field(description="the whole text with the fixes in; empty where there are several inputs")

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The findings of all commands."""
        return tuple(finding for command in self.commands for finding in command.findings)

    @property
    def clean(self) -> bool:
        """No finding of level error."""
        return self.errors == 0
