"""Control flow and assignments of a script: every branch is looked at, and what they disagree on is unknown."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from vllm_opt.optimizer.serve_lines.placed_text import unknown
from vllm_opt.optimizer.serve_lines.shell.expansion import Expander
from vllm_opt.optimizer.serve_lines.shell.state import ShellState
from vllm_opt.optimizer.serve_lines.words import Word

TESTS = ("test_command", "negated_command")
WORDS = frozenset(
    ("word", "string", "raw_string", "ansi_c_string", "translated_string", "concatenation", "simple_expansion",
     "expansion", "command_substitution", "arithmetic_expansion", "number", "process_substitution", "brace_expression",
     "extglob_pattern", "regex", "variable_name", "subscript")
)  # fmt: skip
"""Kinds of nodes that become words."""


class Flow(ABC):
    """The statements that change what is known; `Script` adds the commands."""

    @abstractmethod
    def _statement(self, node: Any, state: ShellState) -> None:
        """Read one statement."""

    @abstractmethod
    def _each(self, node: Any, state: ShellState) -> None:
        """Read what a node holds, in order."""

    @abstractmethod
    def _expander(self, state: ShellState) -> Expander:
        """What words mean in this state."""

    # --- control flow -----------------------------------------------------------------------------------------------

    def _list(self, node: Any, state: ShellState) -> None:
        """`a && b`: b belongs to a's run; after a test, or after `||`, it may not happen at all."""
        left, *rest = [child for child in node.children if child.is_named]
        operator = next((child.type for child in node.children if child.type in ("&&", "||")), "&&")
        self._statement(left, state)
        for child in rest:
            if operator == "&&" and left.type not in TESTS:
                self._statement(child, state)
            else:
                branch = state.copy()
                self._statement(child, branch)
                state.take([branch, state.copy()])

    def _if(self, node: Any, state: ShellState) -> None:
        """Statements between `then` and the next clause, then each clause."""
        blocks: list[list[Any]] = [[]]
        has_else = False
        for child in node.children:
            if child.type in ("elif_clause", "else_clause"):
                blocks.append(list(child.children))
                has_else = has_else or child.type == "else_clause"
            else:
                blocks[0].append(child)
        branches = []
        for block in blocks:
            branch = state.copy()
            for child in block:
                if not branch.ended:
                    self._statement(child, branch)
            branches.append(branch)
        if not has_else:
            branches.append(state.copy())
        state.take(branches)

    def _branches(self, blocks: Sequence[Any], state: ShellState, *, always: bool) -> None:
        branches = [] if always else [state.copy()]
        for block in blocks:
            branch = state.copy()
            self._each(block, branch)
            branches.append(branch)
        state.take(branches)

    def _loop(self, node: Any, state: ShellState) -> None:
        branch = state.copy()
        name = next((child for child in node.children if child.type == "variable_name"), None)
        if name is not None and node.type == "for_statement":
            items = [child for child in node.children if child.type in WORDS and child is not name]
            words = [word for item in items for word in self._expander(state).fields(item)]
            spelled = self._expander(state).spelled(name)
            known = len(words) == 1 and not words[0].unresolved
            branch.values[spelled] = words[0].text if known else unknown(f"${spelled}")
        for child in node.children:
            self._statement(child, branch)
        branch.ended = False
        state.take([branch, state.copy()])

    def _define(self, node: Any, state: ShellState) -> None:
        name = next((child for child in node.children if child.type == "word"), None)
        body = next((child for child in node.children if child.type.endswith(("_statement", "subshell"))), None)
        if name is not None and body is not None:
            state.functions[self._expander(state).spelled(name)] = (self, body)

    # --- variables --------------------------------------------------------------------------------------------------

    def _assign(self, node: Any, state: ShellState) -> None:
        expander = self._expander(state)
        target = node.children[0]
        name = expander.spelled(target)
        appends = any(child.type == "+=" for child in node.children)
        value = node.children[-1] if len(node.children) > 2 else None
        if target.type != "variable_name":
            state.values.pop(name.partition("[")[0], None)
            return
        before = state.values.get(name)
        if value is not None and value.type == "array":
            words = tuple(word for child in value.children if child.is_named for word in expander.fields(child))
            earlier = before if isinstance(before, tuple) else ()
            if appends and before is None:
                earlier = (many_words(f"${{{name}[@]}}"),)
            state.values[name] = (*earlier, *words) if appends else words
            return
        text = "" if value is None else expander.value(value)
        if appends and isinstance(before, tuple):
            text = unknown(f"${name}")
        elif appends:
            text = (unknown(f"${name}") if before is None else str(before)) + text
        state.values[name] = text

    def _declare(self, node: Any, state: ShellState) -> None:
        expander = self._expander(state)
        keyword = expander.spelled(node.children[0])
        for child in node.children[1:]:
            if child.type == "variable_assignment":
                self._assign(child, state)
                name = expander.spelled(child.children[0])
            else:
                name = expander.spelled(child)
            if keyword == "export":
                state.exported.add(name)


def many_words(spelled: str) -> Word:
    """A word that may become any number of words."""
    return Word(spelled, -1, -1, 1, (spelled,), literal=False, many=True, raw=f'"{spelled}"')
