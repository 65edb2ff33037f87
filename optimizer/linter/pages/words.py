"""Rules about the words of a command: what the release's own parser rejects, or reads differently than it looks."""

from vllm_opt.optimizer.linter.pages.page import Page

DROPS = "--fix takes the flag away."
MENDS = "--fix writes it right."


class AbbreviatedFlag(Page):
    """A flag is abbreviated, which breaks when a release adds another one that begins alike.

    Python's argparse accepts `--max-num-seq` for `--max-num-seqs` as long as no other flag begins so.
    """

    levels = ("note",)


class AmbiguousFlag(Page):
    """An abbreviation could mean several flags.

    The parser stops with "ambiguous option". Write the flag out.
    """


class BrokenContinuation(Page):
    """A blank follows the backslash that should continue the line.

    A backslash in front of a blank quotes the blank. The shell ends the command there, hands vLLM a word that is one
    blank ("unrecognized arguments"), and runs the next line as a command of its own.
    """

    fix = "--fix takes the blank away, so that the next line belongs to the command again."


class ConfigIgnored(Page):
    """vLLM reads a config file only from '--config FILE' in two words.

    `--config=FILE` is accepted and ignored: the flags in the file have no effect
    (`utils/argparse_utils.py:FlexibleArgumentParser`).
    """

    fix = "--fix writes two words."


class ConflictingFlags(Page):
    """A flag is given twice with different values.

    The parser takes the last one without a word.
    """

    levels = ("warning",)
    fix = "--fix keeps the value that counts today, the last one."


class DuplicateFlag(Page):
    """A flag is given twice."""

    levels = ("note",)
    fix = "--fix keeps one."


class FlagNotYetExisting(Page):
    """The flag came in a later release.

    The message names the first release known to have it. Upgrade, or drop the flag.
    """


class FlagTakesNoValue(Page):
    """A switch is given a value.

    `--enforce-eager true` and `--enable-prefix-caching=false` stop the parser: a switch is there or not, and
    `--no-…` turns it off where the release has that spelling.
    """

    fix = "--fix writes the switch that was meant."


class MissingValue(Page):
    """A flag needs a value."""


class PluginFlag(Page):
    """A plugin of vLLM brings this flag, so it is not judged.

    vLLM-Omni is known by `--omni`, vllm-ascend by `--quantization ascend`. Their flags are not in vLLM's own parser.
    """

    levels = ("note",)


class ReleaseNotKnown(Page):
    """The release has no profile here, and the flag may exist in it or not.

    A release between two known ones is judged by the older. A flag that only the newer one has, or only the older one,
    may be there or not: it is named and not judged.
    """

    levels = ("note",)


class RemovedFlag(Page):
    """The release no longer has the flag.

    The parser stops with "unrecognized arguments". The message says what took its place, where something did.
    """

    fix = "--fix takes the flag away, unless it decides what is served (such as --rope-scaling with a longer context)."


class RepeatedEntryPoint(Page):
    """The words after the image repeat its entry point.

    `vllm/vllm-openai` starts `vllm serve` (older images: the API server's module) by itself. With
    `command: vllm serve MODEL` the container runs `vllm serve vllm serve MODEL` and stops.
    """

    fix = "--fix takes the repeated words away."


class StrayWord(Page):
    """A word belongs to no flag.

    Often a flag and its value in one pair of quotes, or one item of a YAML list: `"--dtype auto"` is one word.
    """

    fix = (
        "--fix splits '--flag value' in two. A plain word goes where the model is named and nothing unknown stands in "
        "the command; a word that may be a model, a path or a value stays."
    )


class TypographicDash(Page):
    """A flag begins with the wrong dash.

    A word processor's long dash, or one dash where two belong.
    """

    fix = MENDS


class UnknownFlag(Page):
    """The release does not know the flag.

    No known release has it. The message names what it may have been meant for; names that other engines use are
    translated.
    """

    fix = "--fix writes vLLM's name where the name is certain; otherwise nothing is taken away."


class UnknownJsonKey(Page):
    """A key inside a JSON flag is unknown to the release.

    vLLM's configuration classes forbid extra fields: start-up stops with pydantic's "unexpected keyword argument".
    Only releases whose classes were read are judged.
    """


class UnresolvedArguments(Page):
    """Part of the command is filled in elsewhere.

    `"$@"`, an array that is not set in the file, a template, or a --config file that is not beside it may hold any
    flag. Nothing is said for certain that another flag would change, and `starts` is null.
    """

    levels = ("note",)


class UnresolvedVariable(Page):
    """Only a running shell knows a value.

    The variable is set nowhere in the file and has no default there. What depends on it is not judged.
    """

    levels = ("note",)


class ValueOutOfRange(Page):
    """A value is outside what the flag takes."""

    fix = DROPS + " The release's default then holds."


class WrongChoice(Page):
    """A value is not among the flag's choices."""

    fix = "--fix corrects case and dashes; anything else it leaves to you."


class WrongType(Page):
    """A value cannot be read.

    A whole number such as `1k` where no suffix is allowed, `90%`, `0,9`, or JSON whose quotes the shell took.
    """

    fix = "--fix writes the number that was meant where it is certain."


class FlagConflict(Page):
    """The release refuses these flags together.

    Read from vLLM 0.33's own checks: EPLB without expert parallelism, the same setting as a flag and inside a JSON
    flag, state-space models with prefix caching and without chunked prefill, and others.
    """


class MissingCompanion(Page):
    """A flag needs another one beside it.

    `--enable-auto-tool-choice` stops start-up without `--tool-call-parser`.
    """


PAGES: tuple[type[Page], ...] = (
    AbbreviatedFlag, AmbiguousFlag, BrokenContinuation, ConfigIgnored, ConflictingFlags, DuplicateFlag, FlagConflict,
    FlagNotYetExisting, FlagTakesNoValue, MissingCompanion, MissingValue, PluginFlag, ReleaseNotKnown, RemovedFlag,
    RepeatedEntryPoint, StrayWord, TypographicDash, UnknownFlag, UnknownJsonKey, UnresolvedArguments,
    UnresolvedVariable, ValueOutOfRange, WrongChoice, WrongType,
)  # fmt: skip
