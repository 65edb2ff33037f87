"""What can be wrong with what a user asked. Each message is one sentence: what, where, and what to do next."""

from collections.abc import Iterable
from difflib import get_close_matches


class VllmOptError(Exception):
    """Base of every error that is the caller's to fix; the command line prints it and exits with code 2."""


class InvalidRequest(VllmOptError):  # noqa: N818 - the name is part of the public interface
    """A request, a file or a value that cannot be understood."""


class RefusedByVllm(InvalidRequest):
    """A request that vLLM understands and refuses at its start: what follows the field is why."""


class UnknownProfile(VllmOptError):  # noqa: N818 - the name is part of the public interface
    """A model, GPU, quantisation or vLLM release that the catalogue does not hold."""


class CannotBeSized(UnknownProfile):
    """A model that is known, and whose memory nothing here can count: its architecture has no rule or no config."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `"; did you mean 'a' or 'b'?"` for the nearest known names, or an empty string when none is near.

    A name that is itself known is one that stands in the wrong place of a file.
    """
    known = tuple(known)
    if name in known:
        return "; it belongs elsewhere in the file"
    by_lower = {candidate.lower(): candidate for candidate in known}
    near = get_close_matches(name.lower()[:200], by_lower, n=2, cutoff=0.5)
    if not near:
        return ""
    return "; did you mean " + " or ".join(f"'{by_lower[match]}'" for match in near) + "?"
