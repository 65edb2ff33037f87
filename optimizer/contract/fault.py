"""What is wrong with a request, in one sentence that needs no knowledge of pydantic."""

from typing import TYPE_CHECKING

from pydantic import ValidationError

from vllm_opt.profiles.errors import did_you_mean

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


def one_sentence(error: ValidationError, known: tuple[str, ...]) -> str:
    """Say the first thing that is wrong with a request, and which field it is in."""
    fault = error.errors(include_url=False)[0]
    places = list(fault["loc"])
    while len(places) > 1 and isinstance(places[-1], int):
        places.pop()
    where = ".".join(str(place) for place in places) or "request"
    if fault["type"] == "extra_forbidden":
        return f"unknown key '{where[:60]}'{did_you_mean(where, known)}"
    message = _words(fault)
    shown = repr(fault.get("input"))
    got = "" if ", not " in message or not places else f" (got {shown if len(shown) <= 60 else shown[:57] + '...'})"
    return f"{where}: {message}{got}"


def _words(fault: "ErrorDetails") -> str:
    """pydantic's words, where they need no knowledge of pydantic."""
    if fault["type"] == "too_short":
        return "must not be empty"
    if fault["type"] == "string_too_long" or (fault["type"] == "too_long" and isinstance(fault["input"], str)):
        return f"must be at most {fault['ctx']['max_length']} characters long"
    if fault["type"] == "too_long":
        return f"must hold at most {fault['ctx']['max_length']:,} entries"
    message = fault["msg"].removeprefix("Value error, ").removeprefix("Input should ").rstrip(".")
    message = message.replace("unable to parse string as a number", "which this is not")
    for python, words in (("valid tuple", "list"), ("valid list", "list"), ("valid dictionary", "object")):
        message = message.replace(f"a {python}", f"{'an' if words[0] in 'aeiou' else 'a'} {words}")
    return f"must {message}" if fault["msg"].startswith("Input should ") else message[0].lower() + message[1:]
