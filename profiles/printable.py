"""Text from outside made safe to print: no control character reaches the terminal."""

import unicodedata


def printable(text: str) -> str:
    """Return the text with control, format, surrogate and unassigned characters escaped; line breaks stay."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(character) for character in text)


def one_line(text: str) -> str:
    """Return the text on one line: every kind of line break and run of blanks becomes one blank, the rest as above.

    What stands behind a `#` must not end the comment: YAML also breaks lines at U+0085, U+2028 and U+2029.
    """
    return printable(" ".join(text.split()))


def _escaped(character: str) -> str:
    if character == "\n" or not unicodedata.category(character).startswith("C"):
        return character
    return character.encode("unicode_escape").decode("ascii")
