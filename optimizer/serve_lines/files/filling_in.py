"""Variables that compose and Kubernetes fill in before a command is run, with every character's place kept.

Sources: Compose specification, interpolation (https://docs.docker.com/reference/compose-file/interpolation/);
Kubernetes, dependent environment variables
(https://kubernetes.io/docs/tasks/inject-data-application/define-interdependent-environment-variables/).
"""

import re
from collections.abc import Callable, Mapping, Sequence

from vllm_opt.optimizer.serve_lines.placed_text import OPEN, PlacedText, joined, unknown

_COMPOSE = re.compile(
    r"\$\$|\$\{(?P<name>[A-Za-z_]\w*)(?:(?P<operator>:?[-?+=])(?P<rest>(?:[^{}]|\{[^{}]*\})*))?\}|\$(?P<plain>[A-Za-z_]\w*)"
)
_KUBERNETES = re.compile(r"\$\$\(|\$\((?P<name>[A-Za-z_.][\w.-]*)\)")
_DEEPEST = 8
Filler = Callable[[PlacedText, bool], PlacedText]
"""Fills a text in; with True it marks what is unknown, with False it leaves that as it is spelled, for a shell."""


def compose_filler(variables: Mapping[str, str]) -> Filler:
    """What compose makes of `${NAME:-default}` with these variables (those of the `.env` file)."""

    def fill(source: PlacedText, mark: bool) -> PlacedText:
        return _filled(source, _COMPOSE, lambda match: _compose_value(match, variables, 0), mark)

    return fill


def kubernetes_filler(variables: Mapping[str, str]) -> Filler:
    """What Kubernetes makes of `$(NAME)` with the container's own variables."""

    def value(match: re.Match[str]) -> str | None:
        return "$(" if match.group() == "$$(" else variables.get(match.group("name"))

    return lambda source, mark: _filled(source, _KUBERNETES, value, mark)


def _compose_value(match: re.Match[str], variables: Mapping[str, str], depth: int) -> str | None:
    if match.group() == "$$":
        return "$"
    name, operator = match.group("name") or match.group("plain"), match.group("operator") or ""
    known = variables.get(name)
    if operator.endswith("-"):
        absent = known is None or (known == "" and operator.startswith(":"))
        if absent and not match.group("rest"):
            return None  # An empty default leaves the value to whoever starts the services.
        return known if not absent else _default(match.group("rest"), variables, depth)
    if operator.endswith("+"):
        return None if known is None else _default(match.group("rest"), variables, depth) if known else ""
    return known


def _default(rest: str, variables: Mapping[str, str], depth: int) -> str | None:
    if "$" not in rest:
        return rest
    if depth >= _DEEPEST:
        return None
    found: list[str] = []
    at = 0
    for match in _COMPOSE.finditer(rest):
        value = _compose_value(match, variables, depth + 1)
        if value is None:
            return None
        found += [rest[at : match.start()], value]
        at = match.end()
    return "".join([*found, rest[at:]])


def _filled(
    source: PlacedText, pattern: re.Pattern[str], value_of: Callable[[re.Match[str]], str | None], mark: bool
) -> PlacedText:
    if "$" not in source.text:
        return source
    pieces: list[tuple[str, Sequence[int] | None]] = []
    at = 0
    for match in pattern.finditer(source.text):
        value = value_of(match)
        if value is None and not mark:
            continue
        pieces.append((source.text[at : match.start()], source.places[at : match.start()]))
        pieces.append((unknown(match.group()) if value is None else value, None))
        at = match.end()
    pieces.append((source.text[at:], source.places[at:]))
    return joined(pieces, source.file, source.first_line)


def known_only(variables: Mapping[str, str]) -> dict[str, str]:
    """Variables whose whole value is known."""
    return {name: value for name, value in variables.items() if OPEN not in value}
