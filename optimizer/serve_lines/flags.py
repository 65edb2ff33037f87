"""The arguments of `vllm serve` read with one release's flags, as that release's own parser reads them.

Source of the rules: vLLM 0.33 `utils/argparse_utils.py:FlexibleArgumentParser` and Python's argparse: underscores for
dashes, `--flag=value`, unambiguous abbreviations, `-O3`, `--json-flag.key value`, and the last of two values wins.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from vllm_opt.optimizer.serve_lines.flag_values import read_value
from vllm_opt.optimizer.serve_lines.parsed_command import FlagProblem, FlagTable, FlagUse, ParsedCommand
from vllm_opt.optimizer.serve_lines.words import Word
from vllm_opt.profiles.nouns.engine import EngineProfile, FlagSpec

_NEGATIVE_NUMBER = re.compile(r"-\d+|-\d*\.\d+")
_TRUTH_WORDS = ("true", "false", "yes", "no", "on", "off", "0", "1")
_PROSE = re.compile(r"\.{3}|…|\[[^\]]*\]|\[?--?\.{3}\]?")
"""Words of documentation that stand for further arguments."""
_LIST_MARKS = ("@", "*", ":+")
"""In a variable's spelling: it holds any number of words."""
_LONG_DASHES = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212"


def parse_flags(
    arguments: Sequence[Word], engine: EngineProfile, *, positional_model: bool = True, wrapper: Iterable[str] = ()
) -> ParsedCommand:
    """Read the arguments; what cannot be read becomes a problem and is left out, what is not known is kept apart.

    `wrapper` names flags, without dashes, of a program that hands only the others to vLLM.
    """
    return _Parser(list(arguments), FlagTable(engine), positional_model=positional_model, wrapper=wrapper).parse()


class _Parser:
    def __init__(
        self, words: list[Word], table: FlagTable, *, positional_model: bool, wrapper: Iterable[str] = ()
    ) -> None:
        self.wrapper = frozenset(name.replace("_", "-") for name in wrapper)
        self.open_words: list[Word] = []
        self.unknown_values: list[FlagUse] = []
        self.words, self.table, self.positional_model = words, table, positional_model
        self.strict_json = table.engine.version.split(".")[:2] not in (["0", str(minor)] for minor in range(10))
        self.index = 0
        self.model_word: Word | None = None
        self.uses: list[FlagUse] = []
        self.problems: list[FlagProblem] = []

    def parse(self) -> ParsedCommand:
        while self.index < len(self.words):
            word = self.words[self.index]
            self.index += 1
            if word.text == "--":
                continue
            if _is_option(word):
                self._option(word)
            else:
                self._positional(word)
        named = next((use for use in reversed([*self.unknown_values, *self.uses]) if use.name == "model"), None)
        if named is not None and (self.model_word is None or not self.positional_model):
            self.model_word = named.words[-1]
            model = str(named.value)
        else:
            model = self.model_word.text if self.model_word else ""
        hidden = self.model_word is not None and bool(self.model_word.unresolved)
        return ParsedCommand(
            None if hidden or not self.model_word else model, self.model_word, tuple(self.uses), tuple(self.problems),
            tuple(self.open_words), tuple(self.unknown_values), hidden,
        )  # fmt: skip

    def _not_known(self, word: Word) -> bool:
        """Keep a word apart that may be anything; a single variable in the model's place names the model."""
        if _PROSE.fullmatch(word.text):
            self.open_words.append(replace(word, unresolved=word.unresolved or (word.text,), many=True))
            return True
        if not word.unresolved:
            return False
        a_list = word.many and any(mark in word.text for mark in _LIST_MARKS)
        if self.model_word is None and self.positional_model and not a_list and not self.open_words:
            self.model_word = word
        else:
            self.open_words.append(word)
        return True

    def _positional(self, word: Word) -> None:
        if self._not_known(word):
            return
        if self.positional_model and self.model_word is not None and self.model_word.many and word.literal:
            # `$OPTIONS` came first and this is the model after all.
            self.open_words.append(self.model_word)
            self.model_word = word
            return
        if word.text[:1] in _LONG_DASHES and word.text:
            spelled = "--" + word.text.lstrip(_LONG_DASHES + "-")
            mended = replace(word, text=spelled)
            self.words[self.index - 1] = mended
            message = f"'{word.text}' begins with a typographic dash; write {spelled}"
            self._problem("typographic_dash", message, spelled, [mended], suggestion=spelled)
            self._option(mended)
            return
        if self.model_word is None and self.positional_model:
            self.model_word = word
            return
        self._stray(word)

    def _stray(self, word: Word) -> None:
        """A word that no flag takes and that is not the model."""
        if self.open_words and not (word.text.startswith("--") and " " in word.text):
            return  # It may be the value of a flag that a variable before it holds.
        if word.text.startswith("--") and " " in word.text:
            message = f"'{word.text}' is one word, so vLLM takes it for no flag; write flag and value as two words"
            self._problem("stray_word", message, word.text.partition(" ")[0], [word])
            return
        previous = self.uses[-1] if self.uses else None
        text = word.text.lower()
        if previous is not None and self._reads_truth(previous) and text in ("true", "false"):
            self.uses[-1] = replace(previous, value=text == "true", words=(*previous.words, word))
            return
        if previous is not None and isinstance(previous.value, bool) and text in _TRUTH_WORDS:
            wants = text in ("true", "yes", "on", "1")
            advice = "leave it out" if wants else f"--no-{previous.name} switches it off"
            message = f"{previous.spelling} takes no value: vLLM stops at '{word.text}'; {advice}"
            instead = None if wants or f"--no-{previous.name}" not in self.table.spellings else f"--no-{previous.name}"
            self._problem(
                "flag_takes_no_value", message, previous.name, [word], value=word.text, suggestion=instead
            )  # fmt: skip
            return
        self._problem("stray_word", f"'{word.text}' belongs to no flag: vLLM stops at it; leave it out", "", [word])

    def _reads_truth(self, use: FlagUse) -> bool:
        """Whether this flag, given bare, takes the word after it as its truth value."""
        flag = self.table.spellings.get(use.spelling, (None, False))[0]
        return flag is not None and flag.takes_truth and len(use.words) == 1 and not use.joined

    def _option(self, word: Word) -> None:
        spelling, joined, value = _split(word.text)
        if word.unresolved and any(part in spelling for part in word.unresolved):
            self.open_words.append(word)
            return
        if spelling.lstrip("-").replace("_", "-") in self.wrapper:
            self._wrapper_flag(spelling, word, value if joined else None)
            return
        if spelling.startswith("-O") and len(spelling) > 2 and not spelling.startswith("--"):
            self._optimization_level(word, spelling[2:] + (f"={value}" if joined else ""))
            return
        if spelling == "-O" and joined:
            self._optimization_level(word, value)
            return
        base, dot, _ = spelling.partition(".")
        matches = self.table.find(base)
        if not matches:
            self._unknown(word, base)
        elif len({self.table.spellings[match] for match in matches}) > 1 and matches != [base]:
            listed = ", ".join(matches[:5])
            message = f"ambiguous option: {base} could match {listed}; write it out"
            self._problem("ambiguous_flag", message, base, [word, *self._skip_values()])
        else:
            self._known(word, matches[0], base, value if joined else None, dotted=bool(dot))

    def _wrapper_flag(self, spelling: str, word: Word, value: str | None) -> None:
        name = spelling.lstrip("-").replace("_", "-")
        words = [word] if value is not None else [word, *self._take(1)]
        if name == "model-id" and (value or len(words) > 1):
            self.uses.append(
                FlagUse("model", spelling, value or words[-1].text, tuple(words), joined=value is not None)
            )

    def _optimization_level(self, word: Word, value: str) -> None:
        if "--optimization-level" not in self.table.spellings and "-O" not in self.table.spellings:
            self._unknown(word, "-O")
            return
        self.uses.append(FlagUse("optimization-level", "-O", value.removeprefix("="), (word,), joined=True))

    def _known(self, word: Word, match: str, spelling: str, value: str | None, *, dotted: bool) -> None:
        flag, negated = self.table.spellings[match]
        if match != spelling:
            message = f"{spelling} is short for {match} only as long as no other flag begins so; write {match}"
            self._problem("abbreviated_flag", message, flag.name, [word], level="note", suggestion=match)
        if flag.kind == "bool" and not dotted:
            self._switch(word, flag, spelling, value, negated=negated)
            return
        if dotted:
            words = [word] if value is not None else [word, *self._take(1)]
            self.uses.append(FlagUse(flag.name, spelling, words[-1].text, tuple(words), joined=value is not None))
            return
        self._valued(word, flag, spelling, value)

    def _switch(self, word: Word, flag: FlagSpec, spelling: str, value: str | None, *, negated: bool) -> None:
        if flag.takes_truth and value is not None and value.lower() in ("true", "false"):
            self.uses.append(FlagUse(flag.name, spelling, value.lower() == "true", (word,), joined=True))
            return
        if value is not None:
            turned_off = value.lower() in ("false", "no", "off", "0")
            suggestion = None if turned_off and not flag.negatable else f"--{'no-' * turned_off}{flag.name}"
            advice = (
                "leave the value out" if not turned_off else f"{suggestion} turns it off" if suggestion else "drop it"
            )
            message = f"argument {spelling}: ignored explicit argument '{value}': the flag takes no value; {advice}"
            self._problem("flag_takes_no_value", message, flag.name, [word], value=value, suggestion=suggestion)
            return
        self.uses.append(FlagUse(flag.name, spelling, not negated, (word,)))

    def _valued(self, word: Word, flag: FlagSpec, spelling: str, value: str | None) -> None:
        if value is not None:
            given, joined = [word], True
            texts = [value]
        else:
            given, joined = self._take(len(self.words) if flag.values == "many" else 1), False
            texts = [each.text for each in given]
            given = [word, *given]
        if not texts:
            message = f"argument {spelling}: expected {'at least ' * (flag.values == 'many')}one argument"
            self._problem("missing_value", f"{message}; give it or drop the flag", flag.name, [word])
            return
        if any(each.unresolved for each in given):
            missing = next(each.unresolved[0] for each in given if each.unresolved)
            message = f"{spelling} takes {missing}, which nothing here fills in: what depends on it is not judged"
            self.unknown_values.append(FlagUse(flag.name, spelling, texts[0], tuple(given), joined))
            self._problem("unresolved_variable", message, flag.name, given, level="note", value=texts[0])
            return
        read, problem = read_value(flag, spelling, texts, strict_json=self.strict_json)
        if problem is not None or read is None:
            rule, message, suggestion = problem or ("wrong_type", f"argument {spelling}: cannot be read", None)
            self._problem(rule, message, flag.name, given, value=texts[0], suggestion=suggestion)
            return
        self.uses.append(FlagUse(flag.name, spelling, read, tuple(given), joined))

    def _take(self, at_most: int) -> list[Word]:
        taken: list[Word] = []
        while len(taken) < at_most and self.index < len(self.words) and not _is_option(self.words[self.index]):
            word = self.words[self.index]
            if word.many and (taken or any(mark in word.text for mark in _LIST_MARKS)):
                break
            taken.append(self.words[self.index])
            self.index += 1
        return taken

    def _skip_values(self) -> list[Word]:
        """What follows an unreadable flag is probably its value, unless it can only be the model."""
        named = self.model_word is not None or not self.positional_model
        two = all(not _is_option(word) for word in self.words[self.index : self.index + 2])
        named = named or (two and len(self.words) >= self.index + 2)
        return self._take(1) if named or any(word.text.split("=")[0] == "--model" for word in self.words) else []

    def _unknown(self, word: Word, spelling: str) -> None:
        doubled = f"-{spelling}"
        if not spelling.startswith("--") and len(spelling) > 3 and self.table.find(doubled):
            value = word.text[len(spelling) :]
            mended = replace(word, text=f"{doubled}{value}")
            self.words[self.index - 1] = mended
            message = f"'{spelling}' begins with one dash and names no flag; write {doubled}"
            self._problem("typographic_dash", message, doubled, [mended], suggestion=mended.text)
            self._option(mended)
            return
        words = [word] if "=" in word.text else [word, *self._skip_values()]
        value = word.text.partition("=")[2] if "=" in word.text else " ".join(each.text for each in words[1:])
        if any(each.many for each in words[1:]):
            self.open_words += [each for each in words[1:] if each.many]
            words, value = words[:1], ""
        self._problem("unknown_flag", f"unrecognized arguments: {spelling}", spelling, words, value=value or None)

    def _problem(
        self, rule: str, message: str, flag: str, words: Sequence[Word], *, level: str = "error",
        value: str | None = None, suggestion: str | None = None,
    ) -> None:  # fmt: skip
        name = flag if flag.startswith("-") or not flag else f"--{flag}"
        self.problems.append(FlagProblem(rule, message, name, tuple(words), level, value, suggestion))


def _is_option(word: Word) -> bool:
    """Python's argparse: a dash and not a negative number; a blank inside makes it a value."""
    text = word.text
    if not text.startswith("-") or text == "-" or _NEGATIVE_NUMBER.fullmatch(text):
        return False
    return " " not in text.partition("=")[0]


def _split(text: str) -> tuple[str, bool, str]:
    """Split --flag=value and write underscores of the name as dashes, up to the first dot."""
    spelling, separator, value = text.partition("=")
    if spelling.startswith("--"):
        name, dot, rest = spelling.partition(".")
        spelling = name.replace("_", "-") + dot + rest
    return spelling, bool(separator), value
