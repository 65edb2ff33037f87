"""Text from outside made safe to print: no control character reaches the terminal."""

import unicodedata


def printable(text: str) -> str:
    """Return the text with control, format, surrogate and unassigned characters escaped; line breaks stay."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(character) for character in text)


def _escaped(character: str) -> str:
    if character == "\n" or not unicodedata.category(character).startswith("C"):
        return character
    return character.encode("unicode_escape").decode("ascii")
