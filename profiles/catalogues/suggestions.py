"""Which known models a mistyped or unknown name is nearest to: by family, version and size before letters."""

import re
from collections.abc import Iterable
from difflib import SequenceMatcher

_WORDS = re.compile(r"\d+(?:\.\d+)?[bm](?![a-z])|[a-z]+|\d+(?:\.\d+)?")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)([bm])")
_NOT_A_FAMILY = frozenset(
    ("instruct", "it", "chat", "base", "hf", "meta", "awq", "gptq", "fp", "int", "v", "a", "w", "x", "b", "quantized")
)
_LONGEST = 200
_LEAST_LETTERS = 0.7


def similar_models(name: str, known: Iterable[str]) -> str:
    """Return `"; did you mean 'a' or 'b'?"`, or an empty string when none is near.

    Candidates share the family (the first word of the name without its owner) or, where the family itself is
    mistyped, most of the letters; among them come the same version, the nearest size, and then the letters.
    """
    wanted = name.lower()[:_LONGEST]
    scored = sorted(
        (_distance(wanted, candidate.lower()), position, candidate)
        for position, candidate in enumerate(dict.fromkeys(known))
    )
    near: list[str] = []
    for (far, *_), _, candidate in scored:
        bare = candidate.rsplit("/", 1)[-1].lower()
        if far <= 1 and bare not in {other.rsplit("/", 1)[-1].lower() for other in near}:
            near.append(candidate)
        if len(near) == 2:
            return "; did you mean " + " or ".join(f"'{each}'" for each in near) + "?"
    return f"; did you mean '{near[0]}'?" if near else ""


def _distance(wanted: str, candidate: str) -> tuple[int, float, float, int, float]:
    """(0 same family, 1 alike in letters, 2 neither; version; size; words not asked; letters): smaller is nearer."""
    mine, theirs = wanted.rsplit("/", 1)[-1], candidate.rsplit("/", 1)[-1]
    my_words, their_words = _WORDS.findall(mine), _WORDS.findall(theirs)
    family = _family(my_words)
    same = bool(family) and family == _family(their_words)
    matcher = SequenceMatcher(None, mine, theirs)
    letters = 1.0
    if same or matcher.real_quick_ratio() >= _LEAST_LETTERS:
        letters = 1.0 - matcher.ratio()
    group = 0 if same else 1 if letters <= 1.0 - _LEAST_LETTERS else 2
    version = 0.0 if _numbers(my_words) & _numbers(their_words) or not _numbers(my_words) else 1.0
    others = {word for word in their_words if word.isalpha()} - set(my_words) - _NOT_A_FAMILY
    return group, version, _size_gap(my_words, their_words), len(others), letters


def _family(words: list[str]) -> str:
    return next((word for word in words if word.isalpha() and word not in _NOT_A_FAMILY), "")


def _numbers(words: list[str]) -> set[str]:
    return {word for word in words if word[0].isdigit() and word[-1].isdigit()}


def _size_gap(one: list[str], other: list[str]) -> float:
    """How many times larger one size is than the other, from 0; 0 where the asked name states none."""
    sizes = [next((_billions(word) for word in words if _SIZE.fullmatch(word)), None) for words in (one, other)]
    if sizes[0] is None:
        return 0.0
    if sizes[1] is None or not sizes[0] or not sizes[1]:
        return 10.0
    return max(sizes[0], sizes[1]) / min(sizes[0], sizes[1]) - 1.0


def _billions(word: str) -> float:
    found = _SIZE.fullmatch(word)
    assert found is not None
    return float(found[1]) * (1.0 if found[2] == "b" else 1e-3)
