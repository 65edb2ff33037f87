"""A command after its flags are read: what was given, what is wrong with it, and every spelling a release knows."""

from dataclasses import dataclass, field

from vllm_opt.optimizer.serve_lines.flag_values import FlagValue
from vllm_opt.optimizer.serve_lines.words import Word
from vllm_opt.profiles.nouns.engine import EngineProfile, FlagSpec


@dataclass(frozen=True)
class FlagUse:
    """One flag as it was given."""

    name: str
    """The release's own name, without dashes."""
    spelling: str
    value: FlagValue
    words: tuple[Word, ...]
    """The flag and its values, in the order of the command."""
    joined: bool = False
    """Given as --flag=value."""


@dataclass(frozen=True)
class FlagProblem:
    """Something that the release's parser would complain about, or read differently than it looks."""

    rule: str
    message: str
    flag: str
    words: tuple[Word, ...]
    level: str = "error"
    value: str | None = None
    suggestion: str | None = None
    """What to write instead of the flag's spelling or value, where that is certain."""


@dataclass(frozen=True)
class ParsedCommand:
    """Model, flags in order, and problems."""

    model: str | None
    model_word: Word | None
    uses: tuple[FlagUse, ...]
    problems: tuple[FlagProblem, ...]
    open_words: tuple[Word, ...] = ()
    """Words that may be any flags: an array, `"$@"`, a variable that holds several arguments, a plugin's own flags."""
    unknown_values: tuple[FlagUse, ...] = ()
    """Flags whose value nothing here says; `value` is how it is spelled."""
    model_unresolved: bool = False
    """The model is named by something that nothing here fills in."""

    @property
    def unresolved(self) -> tuple[str, ...]:
        """Everything that could not be filled in, in the words of the command."""
        words = [*([self.model_word] if self.model_unresolved and self.model_word else []), *self.open_words]
        words += [word for use in self.unknown_values for word in use.words]
        return tuple(dict.fromkeys(spelled for word in words for spelled in word.unresolved))

    def value(self, name: str) -> FlagValue | None:
        """The value that counts: the last one given; None when the flag is absent."""
        return next((use.value for use in reversed(self.uses) if use.name == name), None)

    def given(self, name: str) -> bool:
        """Whether the flag is there."""
        return any(use.name == name for use in self.uses)


@dataclass
class FlagTable:
    """Every spelling of a release's flags."""

    engine: EngineProfile
    spellings: dict[str, tuple[FlagSpec, bool]] = field(default_factory=dict)
    """Spelling -> flag, and whether this spelling switches it off."""

    def __post_init__(self) -> None:
        for flag in self.engine.flags:
            for spelling in (f"--{flag.name}", *flag.short):
                self.spellings[spelling] = (flag, False)
            negatives = flag.negative or ((f"--no-{flag.name}",) if flag.negatable else ())
            for spelling in negatives:
                self.spellings[spelling] = (flag, True)

    def find(self, spelling: str) -> list[str]:
        """The spellings that an argument means: itself, or every one that it abbreviates."""
        if spelling in self.spellings:
            return [spelling]
        if not spelling.startswith("--") or len(spelling) < 4:
            return []
        return [known for known in self.spellings if known.startswith(spelling)]
