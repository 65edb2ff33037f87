"""Files that users name may be anything."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.reading.user_files import MAX_NESTING, MAX_NODES, MAX_USER_FILE_BYTES, read_user_file


def refusal(path: Path, content: str | bytes) -> str:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(InvalidRequest) as caught:
        read_user_file(path)
    message = str(caught.value)
    assert "\n" not in message
    assert path.name in message
    assert len(message) < 300
    return message


def test_yaml_and_json_give_plain_values(tmp_path: Path) -> None:
    yaml = tmp_path / "a.yaml"
    yaml.write_text("gpus:\n  - id: x\n    since: 2026-01-02\n    count: 3\n    share: 0.5\n    none: null\n")
    assert read_user_file(yaml) == {
        "gpus": [{"id": "x", "since": "2026-01-02", "count": 3, "share": 0.5, "none": None}]
    }
    json = tmp_path / "a.json"
    json.write_text('\ufeff{"a": [1, 2.5, "x", null, true]}', encoding="utf-8")
    assert read_user_file(json) == {"a": [1, 2.5, "x", None, True]}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("a: [1, 2", "line 1: not valid YAML"),
        ("a: 1\nb: 2\na: 3\n", "line 3: the key 'a' is given twice"),
        ("a: &x [1]\nb: *x\n", "line 1: anchors and aliases are not accepted"),
        ("a: !!python/object/apply:os.system ['true']\n", "line 1: tags are not accepted"),
        ("a: !!binary aGk=\n", "line 1: tags are not accepted"),
        ("a: 1\n---\nb: 2\n", "holds several documents"),
        ("a: .nan\n", "every number must be finite"),
        ("a: -.inf\n", "every number must be finite"),
        ("a: 1\nb: " + "9" * 100_000 + "\n", "line 2: a number of more than 40 digits"),
        ("a: 1" + ":1" * 500_000 + "\n", "a number of more than 40 digits"),
        ("[" * 100_000, f"nested deeper than {MAX_NESTING} levels"),
        ("a: " + "{a: " * 100_000, f"nested deeper than {MAX_NESTING} levels"),
        ("[" + "1," * (MAX_NODES + 5) + "]", f"holds more than {MAX_NODES:,} values"),
        ("? [1, 2]\n: 3\n", "is not plain text"),
        ("\t- a\n", "not valid YAML"),
        ("a: \x07\n", "not valid YAML"),
        (b"a: 1\nb: \xff\xfe\n", "line 2: not UTF-8 text"),
        (b"x" * (MAX_USER_FILE_BYTES + 1), "is larger than 2 MiB"),
    ],
)
def test_hostile_yaml_is_refused_in_one_sentence(tmp_path: Path, content: str | bytes, problem: str) -> None:
    assert problem in refusal(tmp_path / "hostile.yaml", content)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ('{"a": 1,\n "b": [1, 2', "line 2: not valid JSON"),
        ('{"a": 1, "a": 2}', "the key 'a' is given twice"),
        ('{"a": NaN}', "every number must be finite"),
        ('{"a": 1e999}', "every number must be finite"),
        ('{"a": ' + "9" * 100_000 + "}", "a number of 100000 digits"),
        ("[" * 100_000, f"nested deeper than {MAX_NESTING} levels"),
        ('{"a":' * 100_000, f"nested deeper than {MAX_NESTING} levels"),
        ("[" + "1," * (MAX_NODES + 5) + "1]", f"holds more than {MAX_NODES:,} values"),
        ("", "line 1: not valid JSON"),
        ('{"a": "\x1b[31m', "not valid JSON"),
    ],
)
def test_hostile_json_is_refused_in_one_sentence(tmp_path: Path, content: str, problem: str) -> None:
    assert problem in refusal(tmp_path / "hostile.json", content)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"cannot read 'missing\.yaml': No such file"):
        read_user_file(tmp_path / "missing.yaml")
    with pytest.raises(InvalidRequest, match="is not a file"):
        read_user_file(tmp_path)
    with pytest.raises(InvalidRequest, match="cannot read"):
        read_user_file("bad\0name.yaml")
    with pytest.raises(InvalidRequest, match="cannot read"):
        read_user_file("x" * 10_000)


@given(content=st.text(alphabet="ab:-[]{}\n '\"&*!|>#%,?0123456789.", max_size=60), json=st.booleans())
def test_any_text_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: str, json: bool) -> None:
    path = tmp_path_factory.getbasetemp() / ("any.json" if json else "any.yaml")
    path.write_text(content)
    with contextlib.suppress(InvalidRequest):
        read_user_file(path)
