"""Walk a script's syntax tree in order, keeping what its variables hold, and collect the servers that it starts.

Nothing is executed. Branches are all looked at; what they disagree on is unknown afterwards.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from vllm_opt.optimizer.serve_lines.commands import InnerScript, ServeCommand, server_in
from vllm_opt.optimizer.serve_lines.containers import Container, cloud_run, container_run, exported
from vllm_opt.optimizer.serve_lines.placed_text import OPEN, PlacedText, joined, unmarked, without_templates
from vllm_opt.optimizer.serve_lines.shell.expansion import Expander
from vllm_opt.optimizer.serve_lines.shell.flow import WORDS, Flow
from vllm_opt.optimizer.serve_lines.shell.plain_words import plain_commands
from vllm_opt.optimizer.serve_lines.shell.reading import Embedded, Reading
from vllm_opt.optimizer.serve_lines.shell.state import ShellState
from vllm_opt.optimizer.serve_lines.shell.tree import syntax_tree
from vllm_opt.optimizer.serve_lines.words import Word
from vllm_opt.profiles.errors import InvalidRequest

MOST_STEPS = 200_000
DEEPEST = 8
_DECLARATIONS = ("export", "declare", "typeset", "local", "readonly")
_BLOCKS = ("program", "compound_statement", "do_group", "pipeline", "negated_command", "elif_clause", "else_clause")


class Script(Flow):
    """One shell text; nested texts share its findings and its budget of steps."""

    def __init__(self, source: PlacedText, reading: Reading, budget: list[int], depth: int, *, strict: bool) -> None:
        self.source, self.reading, self.budget, self.depth, self.strict = source, reading, budget, depth, strict
        self.called: set[str] = set()

    def run(self, state: ShellState) -> None:
        """Walk the whole text."""
        root, self.offset = syntax_tree(self.source.text)
        self._each(root, state)
        for name, (owner, body) in list(state.functions.items()):
            if owner is self and name not in self.called:
                self.called.add(name)
                unknown_call = state.copy()
                unknown_call.parameters, unknown_call.ended = None, False
                self._each(body, unknown_call)

    def _each(self, node: Any, state: ShellState) -> None:
        children = list(node.children)
        index = 0
        while index < len(children) and not state.ended:
            last = self._unreadable(children, index)
            if last < 0:
                self._statement(children[index], state)
                index += 1
            else:
                self._plainly(children[index].start_byte, children[last].end_byte, state)
                index = last + 1

    def _unreadable(self, children: Sequence[Any], index: int) -> int:
        """The last of the children from here on that share lines with something the grammar cannot read; -1: none."""
        last = index
        while last + 1 < len(children) and children[last + 1].start_point[0] == children[last].end_point[0]:
            last += 1
        group = children[index : last + 1]
        return last if any(child.type == "ERROR" or child.is_missing for child in group) else -1

    def _statement(self, node: Any, state: ShellState) -> None:  # noqa: PLR0912
        self.budget[0] -= 1
        if self.budget[0] < 0:
            raise InvalidRequest("the script takes too many steps to follow; give the vLLM command alone")
        kind = node.type
        if not node.is_named or kind == "comment":
            return
        if kind == "ERROR" or (node.has_error and (kind not in _BLOCKS or self._broken_here(node))):
            self._plainly(node.start_byte, node.end_byte, state)
        elif kind in _BLOCKS:
            self._each(node, state)
        elif kind == "subshell":
            self._each(node, state.copy())
        elif kind == "list":
            self._list(node, state)
        elif kind == "redirected_statement":
            self._redirected(node, state)
        elif kind == "command":
            self._command(node, state, {})
        elif kind == "variable_assignment":
            self._assign(node, state)
        elif kind == "variable_assignments":
            self._each(node, state)
        elif kind == "declaration_command":
            self._declare(node, state)
        elif kind == "if_statement":
            self._if(node, state)
        elif kind == "case_statement":
            self._branches([child for child in node.children if child.type == "case_item"], state, always=False)
        elif kind in ("for_statement", "while_statement", "c_style_for_statement"):
            self._loop(node, state)
        elif kind == "function_definition":
            self._define(node, state)
        elif kind == "unset_command":
            for child in node.children[1:]:
                state.values[self._expander(state).spelled(child)] = ""

    def _broken_here(self, node: Any) -> bool:
        return any(child.type == "ERROR" or child.is_missing for child in node.children)

    def _expander(self, state: ShellState) -> Expander:
        return Expander(self.source, self.offset, state)

    def _plainly(self, first: int, last: int, state: ShellState) -> None:
        """What the grammar cannot read: word by word, without structure."""
        start, end = self.offset[first], self.offset[last]
        try:
            self._take(plain_commands(self.source.part(start, end), state))
        except InvalidRequest as fault:
            if self.strict:
                raise
            self.reading.unread.append((self.source.line(start), str(fault)))

    # --- commands ---------------------------------------------------------------------------------------------------

    def _redirected(self, node: Any, state: ShellState) -> None:
        target, bodies = "", []
        statement, trailing = None, []
        for child in node.children:
            if child.type == "heredoc_redirect":
                bodies.append(child)
                trailing += [each for each in child.children if each.type in ("pipeline", "list", "command")]
                target = target or self._target(child.children, state)
            elif child.type == "file_redirect":
                target = target or self._target([child], state)
            elif child.is_named and statement is None and child.type != "herestring_redirect":
                statement = child
        if statement is not None and bodies:
            self._here_documents(statement, bodies, target, state)
        if statement is not None:
            self._statement(statement, state)
        for child in trailing:
            self._statement(child, state)

    def _target(self, children: Sequence[Any], state: ShellState) -> str:
        for child in children:
            if child.type == "file_redirect" and any(each.type in (">", ">>", ">|") for each in child.children):
                return unmarked(self._expander(state).value(child.children[-1]))
        return ""

    def _here_documents(self, statement: Any, bodies: Sequence[Any], target: str, state: ShellState) -> None:
        words = self._words(statement, state)[0] if statement.type == "command" else []
        texts = [word.text for word in words]
        runs = _reads_a_script(texts)
        name = target or next((text for text in texts[1:] if "/" in text or "." in text), "")
        for body in bodies:
            inner = next((child for child in body.children if child.type == "heredoc_body"), None)
            if inner is None:
                continue
            text = self._here_text(inner, state)
            if runs:
                self._nested(text, ShellState(), ())
            else:
                self.reading.embedded.append(Embedded(name, text))

    def _here_text(self, body: Any, state: ShellState) -> PlacedText:
        """The body, with variables that the text sets filled in where its delimiter lets them be."""
        start, end = self.offset[body.start_byte], self.offset[body.end_byte]
        expander, at = self._expander(state), start
        pieces: list[tuple[str, Sequence[int] | None]] = []
        for child in body.children:
            first, last = expander.place(child)
            if child.type not in ("simple_expansion", "expansion") or first < at:
                continue
            value = expander.value(child)
            if OPEN in value:
                continue
            pieces += [(self.source.text[at:first], self.source.places[at:first]), (value, None)]
            at = last
        pieces.append((self.source.text[at:end], self.source.places[at:end]))
        return joined(pieces, self.source.file, self.source.line(start))

    def _words(self, node: Any, state: ShellState) -> tuple[list[Word], dict[int, Any]]:
        """The words of a command, and the node of each word that came from one alone."""
        expander = self._expander(state)
        words: list[Word] = []
        nodes: dict[int, Any] = {}
        for child in node.children:
            if child.type == "variable_assignment":
                spelled = expander.spelled(child.children[0])
                value = child.children[-1] if len(child.children) > 2 else None
                text = unmarked(expander.value(value)) if value is not None and value.type != "array" else ""
                start = expander.place(child)[0]
                words.append(Word(f"{spelled}={text}", -1, -1, self.source.line(start), literal=False))
            elif child.type in WORDS or child.type == "command_name":
                made = expander.fields(child)
                if len(made) == 1:
                    nodes[len(words)] = child
                words += made
            elif child.type == "test_operator":
                words += expander.fields(child)
        return words, nodes

    def _command(self, node: Any, state: ShellState, _: dict[str, str]) -> None:
        words, nodes = self._words(node, state)
        texts = [word.text for word in words]
        if not texts:
            return
        name = texts[0]
        if name in ("exit", "return"):
            state.ended = True
        elif name == "eval":
            self._nested(self._evaluated(words), state, None)
        elif name == "set" and "--" in texts:
            state.parameters = tuple(words[texts.index("--") + 1 :])
        elif name == "shift":
            count = int(texts[1]) if len(texts) > 1 and texts[1].isdecimal() and len(texts[1]) < 5 else 1
            state.parameters = state.parameters[count:] if state.parameters is not None else None
        elif name in state.functions and self.depth < DEEPEST:
            self._call(name, words[1:], state)
        else:
            self._program(words, nodes, state)
        if (name == "ray" and texts[1:2] == ["start"]) or any(text.endswith("multi-node-serving.sh") for text in texts):
            state.starts_ray = True

    def _call(self, name: str, parameters: list[Word], state: ShellState) -> None:
        owner, body = state.functions[name]
        owner.called.add(name)
        outer, depth = state.parameters, owner.depth
        state.parameters, owner.depth = tuple(parameters), max(owner.depth, self.depth) + 1
        owner._statement(body, state)
        owner.depth = depth
        state.parameters, state.ended = outer, False

    def _evaluated(self, words: list[Word]) -> PlacedText:
        text = " ".join(word.text for word in words[1:])
        return joined([(text, None)], self.source.file, words[0].line)

    def _program(self, words: list[Word], nodes: dict[int, Any], state: ShellState) -> None:
        environment = {**state.environment(), **exported(words)}
        file = self.source.file.text
        run = container_run(words, file, environment)
        container: Container | None = None
        found: ServeCommand | InnerScript | None
        if run is not None:
            container, found = run
            environment = dict(container.environment)
        else:
            found = cloud_run(words, file, environment) or server_in(words, file, environment)
        if isinstance(found, ServeCommand):
            ray = replace(found, starts_ray=state.starts_ray)
            self._take([container.around(ray) if container is not None else ray])
        elif found is not None and self.depth < DEEPEST:
            index = next((i for i, word in enumerate(words) if word is found.script), -1)
            source = (
                Expander(self.source, self.offset, state).script(nodes[index])
                if index in nodes
                else joined([(found.script.text, None)], self.source.file, found.script.line)
            )
            inner = ShellState(dict(environment), set(environment), found.parameters[1:], {}, state.starts_ray)
            before = len(self.reading.commands)
            self._nested(source, inner, None)
            if container is not None:
                self.reading.commands[before:] = [container.around(each) for each in self.reading.commands[before:]]

    def _nested(self, source: PlacedText, state: ShellState, _: tuple[Word, ...] | None) -> None:
        if self.depth < DEEPEST:
            clear = replace(source, text=without_templates(source.text))
            Script(clear, self.reading, self.budget, self.depth + 1, strict=self.strict).run(state)

    def _take(self, commands: Sequence[ServeCommand]) -> None:
        self.reading.commands.extend(commands)


def _reads_a_script(texts: Sequence[str]) -> bool:
    """Whether a here-document after these words is a script: `bash`, `bash -s`, `ssh host 'bash -s'`."""
    if not texts:
        return False
    name, last = texts[0].rsplit("/", 1)[-1], texts[-1].split()
    if name in ("bash", "sh", "zsh", "sbatch", "source"):
        return not [text for text in texts[1:] if not text.startswith("-")]
    return name in ("ssh", "docker", "kubectl", "sudo", "srun", "su") and bool(last) and (
        last[0].rsplit("/", 1)[-1] in ("bash", "sh") or (len(last) > 1 and last[-2].endswith("bash")) or name == "ssh"
    )  # fmt: skip
