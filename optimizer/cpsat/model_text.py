"""The model as a file for a reader who knows CP-SAT: a table of its rows behind `#`, then the proto as text.

Protobuf's text format takes `#` for a comment, so the whole file can be parsed and solved again. It is the one model of
every turn, with the rows that keep what the turns proved and the objective of the last turn.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from vllm_opt.constraints.judging.decision_space import DecisionSpace
from vllm_opt.constraints.rules import RULES
from vllm_opt.optimizer.cpsat.model import BUDGETS, CHOICES
from vllm_opt.optimizer.cpsat.objectives import UNITS
from vllm_opt.optimizer.cpsat.turns import Turn
from vllm_opt.profiles.printable import one_line

LOWEST, HIGHEST = -(2**63), 2**63 - 1
KINDS = ("linear", "exactly_one", "at_most_one", "bool_or", "bool_and")
SECTIONS = {
    BUDGETS: "budget in bytes = utilisation x total, rounded as the release rounds it",
    CHOICES: "exactly one layout, point and utilisation, and what the layout and the point fix",
    **{rule.name: (type(rule).__doc__ or "").strip().splitlines()[0] for rule in RULES},
}


def model_text(space: DecisionSpace, turns: Iterable[Turn], title: str) -> str:
    """The whole file: title, turns, variables, rows by section, proto."""
    proto = space.model.proto
    _name_rows(proto, space.sections)
    table = [title, "", *_turns(turns), "", *_variables(proto), "", *_rows(space, proto), ""]
    return "\n".join([*(_comment(line) for line in table), "", str(proto)])


def _comment(line: str) -> str:
    """One line behind `#`, whatever the names in it hold."""
    return f"# {'  ' * line.startswith('  ')}{one_line(line)}".rstrip()


def _turns(turns: Iterable[Turn]) -> Iterator[str]:
    yield "OBJECTIVES, in their order; each is minimised, and later turns keep what it proved"
    for place, turn in enumerate(turns, 1):
        proven = "proven" if turn.best == turn.bound else f"not proven, bound {turn.bound}"
        kept = "" if turn.kept_at_most is None else f"; kept <= {turn.kept_at_most}"
        yield f"  {place}. {turn.name} ({UNITS[turn.name]}): best {turn.best}, {proven}{kept}"


def _variables(proto: Any) -> Iterator[str]:
    yield "VARIABLES"
    for variable in proto.variables:
        yield f"  {variable.name}: {_domain(list(variable.domain))}"


def _rows(space: DecisionSpace, proto: Any) -> Iterator[str]:
    names = [_short(variable.name) for variable in proto.variables]
    conditions = _conditions(space, names)
    yield "ROWS: [rule: what it says] if its Boolean (the layout in words): the sum"
    ends = [first for _, first in space.sections[1:]] + [len(proto.constraints)]
    for (section, first), end in zip(space.sections, ends, strict=True):
        yield ""
        yield f"{section}: {SECTIONS.get(section, 'what its turn minimises, and the limit that later turns keep')}"
        if first == end:
            yield "  no row: not asked, or kept by every layout that is left"
        for index in range(first, end):
            row = proto.constraints[index]
            when = " and ".join(_literal(literal, conditions) for literal in row.enforcement_literal)
            yield f"  [{row.name}] {f'if {when}: ' if when else ''}{_body(row, names)}"
    if proto.has_objective() if hasattr(proto, "has_objective") else proto.HasField("objective"):
        yield ""
        objective = proto.objective
        yield f"MINIMISE in the last turn: {_sum(objective.vars, objective.coeffs, names)}"


def _name_rows(proto: Any, sections: list[tuple[str, int]]) -> None:
    """Put the section before the name that the row was given, once."""
    ends = [first for _, first in sections[1:]] + [len(proto.constraints)]
    for (section, first), end in zip(sections, ends, strict=True):
        for index in range(first, end):
            row = proto.constraints[index]
            if not row.name.startswith(f"{section}: "):
                row.name = f"{section}: {row.name}" if row.name else section


def _short(name: str) -> str:
    """A variable in a sum: a mode without its words, and brackets around what has blanks."""
    short = name.partition(": ")[0]
    return f"[{short}]" if " " in short else short


def _conditions(space: DecisionSpace, names: list[str]) -> list[str]:
    """Every variable as a condition: that of a mode, or of a point of one, with the layout in words."""
    found = list(names)
    for chosen, literals in zip(space.chosen, space.picked, strict=True):
        words = chosen.name.partition(": ")[2]
        for literal in (chosen, *literals):
            found[literal.index] = f"{names[literal.index]} ({words})"
    return found


def _literal(literal: int, names: list[str]) -> str:
    return names[literal] if literal >= 0 else f"not {names[-literal - 1]}"


def _body(row: Any, names: list[str]) -> str:
    kind = next((kind for kind in KINDS if _is(row, kind)), "another kind of constraint")
    if kind == "linear":
        return f"{_sum(row.linear.vars, row.linear.coeffs, names)} {_bound(list(row.linear.domain))}"
    if kind not in KINDS:
        return kind
    literals = [_literal(literal, names) for literal in getattr(row, kind).literals]
    joined = {"bool_and": " and ", "bool_or": " or "}.get(kind, ", ")
    return joined.join(literals) if kind.startswith("bool") else f"{kind.replace('_', ' ')} of {joined.join(literals)}"


def _is(row: Any, kind: str) -> bool:
    """Whether a row is of a kind; before ortools 9.15 a proto is one of the protobuf package."""
    asked = getattr(row, f"has_{kind}", None)
    return bool(row.HasField(kind) if asked is None else asked())


def _sum(variables: Any, coefficients: Any, names: list[str]) -> str:
    """`3 x + y - 2 z`; what counts nothing is left out."""
    text = ""
    for variable, coefficient in zip(variables, coefficients, strict=True):
        if coefficient == 0:
            continue
        size = "" if abs(coefficient) == 1 else f"{abs(coefficient)} "
        sign = "-" if coefficient < 0 else "+"
        text += f" {sign} {size}{names[variable]}" if text else f"{'-' * (coefficient < 0)}{size}{names[variable]}"
    return text or "0"


def _bound(domain: list[int]) -> str:
    low, high = domain[0], domain[-1]
    if len(domain) > 2:
        return f"in {_domain(domain)}"
    if low == high:
        return f"= {low}"
    if low <= LOWEST:
        return f"<= {high}"
    return f">= {low}" if high >= HIGHEST else f"in {low}..{high}"


def _domain(domain: list[int]) -> str:
    pairs = zip(domain[::2], domain[1::2], strict=True)
    return ", ".join(f"{low}" if low == high else f"{low}..{high}" for low, high in pairs)
