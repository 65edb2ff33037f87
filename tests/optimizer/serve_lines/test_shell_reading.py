"""Shell text as people write it: arrays, splitting, quotes, here-documents, functions, nested shells; nothing runs."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vllm_opt.optimizer.serve_lines.commands import ServeCommand
from vllm_opt.optimizer.serve_lines.placed_text import whole
from vllm_opt.optimizer.serve_lines.shell.shell import read_shell, serve_commands
from vllm_opt.profiles.errors import InvalidRequest


def only(text: str) -> ServeCommand:
    (command,) = serve_commands(text)
    return command


def arguments(text: str) -> list[str]:
    return [word.text for word in only(text).arguments]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A=(--port 1 'x y')\nvllm serve m \"${A[@]}\"", ["m", "--port", "1", "x y"]),
        ("A=(--a)\nA+=(--b 2)\nvllm serve m ${A[@]}", ["m", "--a", "--b", "2"]),
        ('O="--port 1 --seed 2"\nvllm serve m $O', ["m", "--port", "1", "--seed", "2"]),
        ('O="--port 1"\nvllm serve m "$O"', ["m", "--port 1"]),
        ("vllm serve m --x $'a\\tb\\'c'", ["m", "--x", "a\tb'c"]),
        ("P=80\nvllm serve m --port=${P}80", ["m", "--port=8080"]),
        ("vllm serve m --port ${P:-8000}", ["m", "--port", "8000"]),
        ("Q=7\nvllm serve m --port ${P:-$Q}", ["m", "--port", "7"]),
        ("J=${J:-'{\"a\":1}'}\nvllm serve m --j \"$J\"", ["m", "--j", '{"a":1}']),
        ('CMD="vllm serve m --port 1"\neval "$CMD" 2>&1 | tee x', ["m", "--port", "1"]),
        ('CMD="vllm serve m --port 1"\n$CMD', ["m", "--port", "1"]),
        ("start() { vllm serve \"$1\" --port $2; }\nstart org/m 9", ["org/m", "--port", "9"]),
        ("set -- --port 1\nvllm serve m \"$@\"", ["m", "--port", "1"]),
        ("sh -c 'exec vllm serve \"$@\"' -- m --port 1", ["m", "--port", "1"]),
        ("for p in 1; do vllm serve m --port $p; done", ["m", "--port", "1"]),
        ("if [ -n \"$X\" ]; then T=4; else T=4; fi\nvllm serve m -tp $T", ["m", "-tp", "4"]),
        ("bash -s <<'EOF'\nvllm serve m --port 1\nEOF", ["m", "--port", "1"]),
        ("ssh host 'bash -s' <<EOF\nvllm serve m --port 1\nEOF", ["m", "--port", "1"]),
        ("ssh -p 2 host \"vllm serve m --port 1\"", ["m", "--port", "1"]),
        ("sudo prlimit -- bash -lc 'vllm serve m --j '\"'\"'{\"a\": 1}'\"'\"''", ["m", "--j", '{"a": 1}']),
        ("docker run -it --group-add video -v /vllm:/x vllm/vllm-openai-rocm:v0.20.0 m --port 1", ["m", "--port", "1"]),
        ("docker run --rm $OPTS vllm/vllm-openai:${TAG:-v0.11.0} --model m", ["--model", "m"]),
        ("docker run my.registry/serving:1 --model m --max-model-len 8", ["--model", "m", "--max-model-len", "8"]),
        ("gcloud run deploy x --image=vllm/vllm-openai:latest --args=--model=m,--port=1", ["--model=m", "--port=1"]),
    ],
)  # fmt: skip
def test_words_that_the_shell_would_pass(text: str, expected: list[str]) -> None:
    assert arguments(text) == expected


@pytest.mark.parametrize(
    ("text", "unresolved"),
    [
        ('vllm serve "$@"', ("$@",)),
        ('vllm serve m "${ARGS[@]}"', ("${ARGS[@]}",)),
        ("vllm serve m $EXTRA", ("$EXTRA",)),
        ("vllm serve m ${EXTRA:-}", ("${EXTRA:-}",)),
        ("vllm serve m $(flags)", ("$(flags)",)),
        ("vllm serve m {{ extra }}", ("{{ … }}",)),
        ('A=(--a)\nif x; then A+=(--b); fi\nvllm serve m "${A[@]}"', ("${A[@]}",)),
    ],
)
def test_what_may_be_any_words_is_marked_and_never_literal(text: str, unresolved: tuple[str, ...]) -> None:
    word = only(text).arguments[-1]
    assert (word.unresolved, word.many, word.literal, word.editable) == (unresolved, True, False, False)


def test_what_branches_share_is_known() -> None:
    text = 'A=(--a 1)\nif x; then A+=(--b); else A+=(--c); fi\nvllm serve m "${A[@]}"'
    assert [word.text for word in only(text).arguments] == ["m", "--a", "1", "${A[@]}"]


def test_a_branch_that_leaves_does_not_count() -> None:
    assert arguments("T=2\nif x; then T=9; exit 1; fi\nvllm serve m -tp $T") == ["m", "-tp", "2"]


def test_only_literal_words_have_a_place_to_edit() -> None:
    text = "P=1\nvllm serve m --port $P --seed 3"
    words = {word.text: word for word in only(text).arguments}
    assert words["3"].editable
    assert not words["1"].editable
    assert text[words["3"].start : words["3"].end] == "3"


def test_a_blank_behind_the_backslash_is_remembered() -> None:
    command = only("vllm serve m \\\n --port 1 \\ \n --seed 2\n")
    assert [word.text for word in command.arguments] == ["m", "--port", "1", "--seed", "2"]
    assert [(word.text, word.line) for word in command.cut_lines] == [("\\ ", 2)]


def test_files_that_a_here_document_writes() -> None:
    reading = read_shell(whole("M=m\ncat > /etc/x.service <<EOF\nExecStart=vllm serve $M $OTHER\nEOF\n"))
    assert reading.commands == []
    (part,) = reading.embedded
    assert (part.name, part.text.text) == ("/etc/x.service", "ExecStart=vllm serve m $OTHER\n")
    assert part.text.line(12) == 3


@pytest.mark.parametrize(
    "text",
    [
        "echo vllm serve m",
        "pkill -f 'vllm serve'",
        "vllm serve --help",
        "docker run --entrypoint /bin/bash -it vllm/vllm-openai:v0.11.0",
        "cat <<EOF\nvllm serve m\nEOF",
        "pip install vllm",
    ],
)
def test_what_starts_no_server(text: str) -> None:
    assert serve_commands(text) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("docker run vllm/vllm-openai:v0.20.0 vllm serve m", ["vllm", "serve"]),
        ("docker run vllm/vllm-openai:v0.20.0 serve m", ["serve"]),
        ("docker run vllm/vllm-openai python3 -m vllm.entrypoints.openai.api_server --model m", ["python3", "-m",
         "vllm.entrypoints.openai.api_server"]),
        ("docker run --entrypoint vllm vllm/vllm-openai serve m", []),
        ("docker run nvcr.io/nvidia/vllm:26.05-py3 vllm serve m", []),
    ],
)  # fmt: skip
def test_words_that_repeat_the_entry_point(text: str, words: list[str]) -> None:
    assert [word.text for word in only(text).repeated_entry] == words


def test_a_ray_cluster_that_the_script_starts() -> None:
    assert only("ray start --head\nvllm serve m -tp 16").starts_ray
    assert not only("vllm serve m -tp 16").starts_ray


def test_time_grows_with_the_text_and_no_faster() -> None:
    def seconds(lines: int) -> float:
        text = "A=(x)\n" + "A+=(--flag value)\nif t; then B=1; fi\nvllm serve m --port $B\n" * lines
        begun = time.process_time()
        serve_commands(text)
        return time.process_time() - begun

    seconds(50)
    assert seconds(800) < 12 * seconds(200) + 0.5


@settings(deadline=None)
@given(st.text(alphabet=" \t\n'\"\\$`(){}[]#;|&<>=@*-avlmserifthndo\r\ue000", max_size=90))
def test_any_text_is_read_or_refused_in_one_sentence(text: str) -> None:
    sentence = ""
    try:
        serve_commands(text + "\nvllm serve m")
    except InvalidRequest as error:
        sentence = str(error)
    assert "\n" not in sentence


@pytest.mark.parametrize(
    "text", ["f() { f; }\nf", 'eval "$X" \nX=\'eval "$X"\'\neval "$X"', "a() { b; }\nb() { a; }\na"]
)
def test_scripts_that_call_themselves_end(text: str) -> None:
    assert serve_commands(text) == []
