"""Reading a YAML or JSON file that a user names: limited in size and nesting, one sentence when it fails."""

import json
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.printable import printable

if TYPE_CHECKING:
    from yaml.events import Event

MAX_USER_FILE_BYTES = 2 * 1024 * 1024
MAX_NESTING = 32
MAX_NODES = 50_000
MAX_DIGITS = 40
SHAPE_OF_JSON = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[{\]},]', re.DOTALL)
"""A string that never ends is one token up to the end: looked at once, however many quotes it holds."""


def read_user_file(path: str | Path) -> object:
    """Return the content of a YAML or JSON file as plain dicts, lists, strings, numbers, booleans and None.

    A name that ends in '.json' is read as JSON, anything else as YAML (of which JSON is a part). Only plain data is
    built: no tags, no anchors, nothing is executed.

    Raises:
        InvalidRequest: the file cannot be read, is larger than 2 MiB, not UTF-8, not well-formed, nested deeper than
            32 levels, holds more than 50,000 values, a duplicate key, an alias, a tag, NaN, an infinity, or a number
            of more than 40 digits. The sentence names the file and, where known, the line.
    """
    file = Path(path)
    return parse_user_text(_read_text(file), file)


def read_user_text(path: str | Path, most_bytes: int = MAX_USER_FILE_BYTES) -> str:
    """Return the text of a file that a user names, for formats that are neither YAML nor JSON.

    Raises:
        InvalidRequest: the file cannot be read, is larger than allowed (2 MiB), or is not UTF-8.
    """
    return _read_text(Path(path), most_bytes)


def parse_user_text(text: str, name: str | Path) -> object:
    """Return the content of YAML or JSON text under the same limits; `name` decides which, and is shown in errors.

    Raises:
        InvalidRequest: as `read_user_file`.
    """
    file = Path(name)
    content = _parse_json(text, file) if file.suffix.lower() == ".json" else _parse_yaml(text, file)
    _check_values(content, file)
    return content


def line_of(path: str | Path, keys: Sequence[str | int]) -> int | None:
    """Return the line (from 1) on which a key or list entry of a YAML or JSON file stands, None when it is not there.

    `keys` leads from the top to the value: ('workloads', 1, 'concurrency').

    Raises:
        InvalidRequest: `read_user_file` would refuse the file.
    """
    import yaml

    file = Path(path)
    text = _read_text(file)
    read_user_file(file)
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        return None
    line = None
    for key in keys:
        step = _step_into(node, key)
        if step is None:
            return None
        line, node = step
    return line


def _step_into(node: Any, key: str | int) -> tuple[int, Any] | None:
    import yaml

    if isinstance(node, yaml.MappingNode):
        for key_node, value in node.value:
            if str(key_node.value) == str(key):
                return key_node.start_mark.line + 1, value
    if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
        return node.value[key].start_mark.line + 1, node.value[key]
    return None


def with_home(path: str | Path) -> Path:
    """Return a path with a leading `~` or `~user` filled in.

    Raises:
        InvalidRequest: this machine knows no home folder of that name.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        shown = printable(repr(str(path)[:120]))
        raise InvalidRequest(f"the path {shown} begins with a home folder that this machine does not know") from None


def shown_name(file: Path) -> str:
    """Return the last part of a path, safe to print."""
    return printable(repr(file.name[-100:] or str(file)[-100:]))


def _read_text(file: Path, most_bytes: int = MAX_USER_FILE_BYTES) -> str:
    try:
        if file.exists() and not file.is_file():
            raise InvalidRequest(f"{shown_name(file)} is not a file; give a YAML or JSON file")
        with file.open("rb") as stream:
            content = stream.read(most_bytes + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not a usable path"
        raise InvalidRequest(f"cannot read {shown_name(file)}: {reason}") from None
    if len(content) > most_bytes:
        raise InvalidRequest(f"{shown_name(file)} is larger than {most_bytes >> 20} MiB; give a smaller file")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise InvalidRequest(f"{shown_name(file)}, line {line}: not UTF-8 text; save the file as UTF-8") from None


def _parse_json(text: str, file: Path) -> object:
    _check_json_shape(text, file)
    try:
        return json.loads(
            text,
            object_pairs_hook=lambda pairs: _unique_keys(pairs, file),
            parse_int=_bounded_int,
            parse_constant=float,
        )
    except json.JSONDecodeError as error:
        raise InvalidRequest(f"{shown_name(file)}, line {error.lineno}: not valid JSON ({error.msg})") from None
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"{shown_name(file)}: not usable JSON ({printable(str(error))[:120]})") from None


def _check_json_shape(text: str, file: Path) -> None:
    depth = values = 0
    for match in SHAPE_OF_JSON.finditer(text):
        token = match.group()
        values += token in (",", "[", "{")
        if values > MAX_NODES:
            _refuse(file, text.count("\n", 0, match.start()) + 1, f"holds more than {MAX_NODES:,} values")
        if token in ("[", "{"):
            depth += 1
            if depth > MAX_NESTING:
                _refuse(file, text.count("\n", 0, match.start()) + 1, f"nested deeper than {MAX_NESTING} levels")
        elif token in ("]", "}"):
            depth -= 1


def _unique_keys(pairs: list[tuple[str, object]], file: Path) -> dict[str, object]:
    result: dict[str, object] = {}
    for key, value in pairs:
        if key in result:
            raise InvalidRequest(f"{shown_name(file)}: the key {printable(repr(key[:80]))} is given twice; keep one")
        result[key] = value
    return result


def _bounded_int(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def _parse_yaml(text: str, file: Path) -> object:
    import yaml

    try:
        _check_yaml_events(yaml.parse(text, Loader=yaml.SafeLoader), file)
        return yaml.load(text, Loader=_plain_loader(file))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = printable((error.problem or "unreadable").replace("\n", " "))[:120]
        _refuse(file, mark.line + 1 if mark else None, f"not valid YAML ({problem})")
    except yaml.YAMLError as error:
        _refuse(file, None, f"not valid YAML ({printable(str(error).splitlines()[0])[:120]})")
    except (ValueError, OverflowError, RecursionError) as error:
        _refuse(file, None, f"not usable YAML ({printable(str(error))[:120]})")


def _check_yaml_events(events: "Iterator[Event]", file: Path) -> None:
    import yaml

    depth = documents = 0
    for nodes, event in enumerate(events, start=1):
        line = event.start_mark.line + 1 if event.start_mark else None
        if nodes > MAX_NODES:
            _refuse(file, line, f"holds more than {MAX_NODES:,} values")
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            _refuse(file, line, "anchors and aliases are not accepted; write the value out")
        if isinstance(event, yaml.NodeEvent) and getattr(event, "tag", None):
            _refuse(file, line, "tags are not accepted; write plain values")
        if isinstance(event, yaml.ScalarEvent) and event.style is None and _is_long_number(event.value):
            _refuse(file, line, f"a number of more than {MAX_DIGITS} digits")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_NESTING:
                _refuse(file, line, f"nested deeper than {MAX_NESTING} levels")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                _refuse(file, line, "holds several documents; keep one")


def _is_long_number(text: str) -> bool:
    """Tell whether YAML would turn more than 40 characters into one number, which may take very long."""
    import yaml

    if len(text) <= MAX_DIGITS:
        return False
    resolvers = yaml.SafeLoader.yaml_implicit_resolvers.get(text[0], [])
    return any(pattern.match(text) for tag, pattern in resolvers if tag.endswith((":int", ":float")))


def _plain_loader(file: Path) -> Any:
    import yaml

    class PlainLoader(yaml.SafeLoader):
        """A SafeLoader that refuses duplicate keys and keeps dates as the text they were."""

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            seen = set()
            for key_node, _ in node.value:
                key = self.construct_object(key_node, deep=True)
                if not isinstance(key, str | int | float | bool) or key in seen:
                    what = "given twice" if isinstance(key, str | int | float | bool) else "not plain text"
                    _refuse(file, key_node.start_mark.line + 1, f"the key {printable(repr(key)[:80])} is {what}")
                seen.add(key)
            return super().construct_mapping(node, deep=deep)

    PlainLoader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag not in _UNWANTED_TAGS]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    return PlainLoader


_UNWANTED_TAGS = ("tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:merge", "tag:yaml.org,2002:value")


def _check_values(content: object, file: Path) -> None:
    remaining = [content]
    while remaining:
        value = remaining.pop()
        if isinstance(value, float) and not math.isfinite(value):
            raise InvalidRequest(f"{shown_name(file)} holds {value}; every number must be finite")
        if isinstance(value, dict):
            remaining.extend(value.values())
        elif isinstance(value, list):
            remaining.extend(value)


def _refuse(file: Path, line: int | None, problem: str) -> NoReturn:
    place = f"{shown_name(file)}, line {line}" if line is not None else shown_name(file)
    raise InvalidRequest(f"{place}: {problem}")
