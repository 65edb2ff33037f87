"""Python source: argument lists such as `["vllm", "serve", model, …]`, and shell text in strings that are run."""

import ast
from collections.abc import Iterator
from dataclasses import replace

from vllm_opt.optimizer.serve_lines.commands import InnerScript, ServeCommand, server_in
from vllm_opt.optimizer.serve_lines.containers import container_run
from vllm_opt.optimizer.serve_lines.placed_text import Lines, PlacedText, clean, joined, unknown
from vllm_opt.optimizer.serve_lines.shell.reading import Reading
from vllm_opt.optimizer.serve_lines.shell.shell import read_shell
from vllm_opt.optimizer.serve_lines.words import Word, finished
from vllm_opt.profiles.errors import InvalidRequest

_RUNNERS = frozenset(
    ("run", "Popen", "call", "check_call", "check_output", "system", "popen", "create_subprocess_shell",
     "create_subprocess_exec", "getoutput", "exec_command", "execute", "sh")
)  # fmt: skip
_LONGEST_LIST = 2_000


def python_servers(text: str, name: str) -> Reading:
    """Return the servers that the source starts; strings that only speak of one are passed over.

    Raises:
        InvalidRequest: the source cannot be parsed.
    """
    text = clean(text)
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None) or 1
        raise InvalidRequest(f"{name}, line {line}: not readable as Python") from None
    return _Source(text, tree).reading()


class _Source:
    def __init__(self, text: str, tree: ast.Module) -> None:
        self.file, self.tree = Lines(text), tree
        self.lines = text.splitlines(keepends=True)
        self.starts = [0]
        for line in self.lines:
            self.starts.append(self.starts[-1] + len(line))
        self.constants = _constants(tree)
        self.changed = _changed_names(tree)

    def reading(self) -> Reading:
        reading = Reading()
        named = {
            id(node.value): target.id
            for node in ast.walk(self.tree)
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        run = {id(argument) for node in ast.walk(self.tree) if _runs(node) for argument in node.args}  # type: ignore[attr-defined]
        names_run = {
            node.id for call in ast.walk(self.tree) if _runs(call) for node in call.args if isinstance(node, ast.Name)  # type: ignore[attr-defined]
        }  # fmt: skip
        for node in ast.walk(self.tree):
            if isinstance(node, ast.List | ast.Tuple) and len(node.elts) <= _LONGEST_LIST:
                self._take(reading, self._of_list(node, named.get(id(node), "")))
            elif isinstance(node, ast.Constant | ast.JoinedStr) and (
                id(node) in run or named.get(id(node)) in names_run
            ):
                self._take(reading, self._of_text(node))
        reading.commands.sort(key=lambda command: command.line)
        return reading

    def _take(self, reading: Reading, found: Reading | None) -> None:
        if found is not None:
            reading.commands += found.commands
            reading.unread += found.unread

    def _of_list(self, node: ast.List | ast.Tuple, name: str) -> Reading | None:
        if not any(isinstance(item, ast.Constant) and "vllm" in str(item.value) for item in node.elts):
            return None
        words = [self._word(item) for item in node.elts]
        if name and name in self.changed:
            words.append(Word(name, -1, -1, node.lineno, (f"{name} +=",), literal=False, many=True))
        run = container_run(words, self.file.text, {})
        found = run[1] if run is not None else server_in(words, self.file.text, {})
        if isinstance(found, ServeCommand):
            command = replace(found, in_list=False, arguments_end=0, arguments=_not_edited(found.arguments))
            return Reading([run[0].around(command) if run is not None else command])
        if isinstance(found, InnerScript):
            item = node.elts[next(i for i, word in enumerate(words) if word is found.script)]
            return self._of_text(item)
        return None

    def _word(self, item: ast.expr) -> Word:
        line = item.lineno
        if isinstance(item, ast.Constant):
            start, end = self._span(item)
            return Word(str(item.value), start, end, line)
        if isinstance(item, ast.Starred):
            spelled = ast.unparse(item)
            return Word(spelled, -1, -1, line, (spelled,), literal=False, many=True)
        return finished(self._value(item), -1, -1, line, literal=False)

    def _value(self, item: ast.expr) -> str:
        """The text of an expression, with what is not constant marked."""
        if isinstance(item, ast.Constant):
            return str(item.value)
        if isinstance(item, ast.Name) and item.id in self.constants:
            return self.constants[item.id]
        if isinstance(item, ast.JoinedStr):
            return "".join(
                self._value(part.value) if isinstance(part, ast.FormattedValue) else self._value(part)
                for part in item.values
            )
        if isinstance(item, ast.Call) and isinstance(item.func, ast.Name) and item.func.id == "str" and item.args:
            return self._value(item.args[0])
        return unknown(ast.unparse(item)[:200])

    def _of_text(self, node: ast.expr) -> Reading | None:
        value = self._value(node) if isinstance(node, ast.Constant | ast.JoinedStr) else ""
        if "vllm" not in value:
            return None
        try:
            return read_shell(self._placed(node, value))
        except InvalidRequest:
            return None

    def _placed(self, node: ast.expr, value: str) -> PlacedText:
        start, end = self._span(node)
        at = self.file.text.find(value, start, end) if start >= 0 else -1
        if at < 0:
            shown = value.replace("\ue001", "$(").replace("\ue002", ")")
            return joined([(shown, None)], self.file, node.lineno)
        return PlacedText(value, self.file, range(at, at + len(value)), node.lineno)

    def _span(self, node: ast.expr) -> tuple[int, int]:
        if node.end_lineno is None or node.end_col_offset is None:
            return -1, -1
        places = []
        for line, column in ((node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)):
            encoded = self.lines[line - 1].encode()
            places.append(self.starts[line - 1] + len(encoded[:column].decode(errors="replace")))
        return places[0], places[1]


def _not_edited(words: tuple[Word, ...]) -> tuple[Word, ...]:
    """Python is read, not rewritten."""
    return tuple(replace(word, literal=False) for word in words)


def _runs(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    return name in _RUNNERS


def _constants(tree: ast.Module) -> dict[str, str]:
    """Names that are given one constant in the whole file."""
    found: dict[str, set[str]] = {}
    for node in _assignments(tree):
        for target in node.targets:
            if isinstance(target, ast.Name):
                simple = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str | int | float)
                found.setdefault(target.id, set()).add(str(node.value.value) if simple else "\n")  # type: ignore[attr-defined]
    return {name: values.pop() for name, values in found.items() if len(values) == 1 and values != {"\n"}}


def _assignments(tree: ast.Module) -> Iterator[ast.Assign]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            yield node


def _changed_names(tree: ast.Module) -> frozenset[str]:
    """Lists that grow after they are made."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            inner = node.func.value
            if node.func.attr in ("append", "extend", "insert", "remove") and isinstance(inner, ast.Name):
                found.add(inner.id)
    return frozenset(found)
