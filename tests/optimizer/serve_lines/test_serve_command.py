"""Reading vLLM commands: shell words, ways to start a server, and flags as vLLM 0.33's own parser reads them."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllm_opt.optimizer.linter.checks.flags import flag_findings
from vllm_opt.optimizer.linter.lint import lint_command
from vllm_opt.optimizer.linter.subject.context import FIELDS
from vllm_opt.optimizer.linter.subject.releases import ReadRelease
from vllm_opt.optimizer.serve_lines.commands import ServeCommand
from vllm_opt.optimizer.serve_lines.flags import parse_flags
from vllm_opt.optimizer.serve_lines.images import image_version
from vllm_opt.optimizer.serve_lines.parsed_command import ParsedCommand
from vllm_opt.optimizer.serve_lines.shell.plain_words import shell_tokens
from vllm_opt.optimizer.serve_lines.shell.shell import serve_commands
from vllm_opt.optimizer.serve_lines.words import Word
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.errors import InvalidRequest

CATALOG = Catalog()
ENGINE, _ = CATALOG.engine("0.33")
VERDICTS = json.loads((Path(__file__).parents[2] / "data" / "vllm_0_33_command_lines.json").read_text())


def words(text: str) -> list[str]:
    return [token.text for token in shell_tokens(text) if isinstance(token, Word)]


def only(text: str) -> ServeCommand:
    commands = serve_commands(text)
    assert len(commands) == 1
    return commands[0]


def parsed(text: str, version: str = "0.33") -> ParsedCommand:
    command = only(text)
    engine, _ = CATALOG.engine(version)
    return parse_flags(command.arguments, engine, positional_model=command.entry != "api_server")


# --- shell words ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a 'b c' \"d e\" f\\ g", ["a", "b c", "d e", "f g"]),
        ("a \\\n  b \\\r\n c", ["a", "b", "c"]),
        ("a # comment --x\nb", ["a", "b"]),
        ("a#b", ["a#b"]),
        ("""--json '{"a": [1, 2]}'""", ["--json", '{"a": [1, 2]}']),
        ("a > out.txt 2>&1 < in", ["a"]),
        ("L=8k\nrun --len $L ${L} ${M:-16} '$L'", ["L=8k", "run", "--len", "8k", "8k", "16", "$L"]),
        ("export L=8k; run $L", ["export", "L=8k", "run", "8k"]),
        ("cat <<EOF\nvllm serve x\nEOF\nend", ["cat", "end"]),
        ('a "b\\"c\\$d"', ["a", 'b"c$d']),
    ],
)
def test_shell_words(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def test_words_know_where_they_stand() -> None:
    text = "vllm serve m \\\n  --max-model-len '8k'"
    last = [token for token in shell_tokens(text) if isinstance(token, Word)][-1]
    assert (text[last.start : last.end], last.text, last.line) == ("'8k'", "8k", 2)


def test_what_only_a_shell_knows_is_marked() -> None:
    token = next(token for token in shell_tokens("$(nproc --all (x)) ") if isinstance(token, Word))
    assert token.unresolved == ("$(nproc --all (x))",)


@pytest.mark.parametrize(("text", "line"), [("a 'b", 1), ('a\nb "c', 2)])
def test_an_open_quote_is_named_with_its_line(text: str, line: int) -> None:
    with pytest.raises(InvalidRequest, match=f"line {line}: the quote . is never closed"):
        shell_tokens(text)


def test_too_much_text_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="longer than"):
        serve_commands("a" * 2_100_000)
    with pytest.raises(InvalidRequest, match="more than 50,000 words"):
        shell_tokens("a " * 60_000)


@given(st.text(alphabet=" \t\n'\"\\$`(){}#;|&<>=-avllmserve\r", max_size=80))
def test_any_text_is_read_or_refused_in_one_sentence(text: str) -> None:
    sentence = ""
    try:
        serve_commands(text + "\nvllm serve m")
    except InvalidRequest as error:
        sentence = str(error)
    assert "\n" not in sentence


# --- ways to start a server -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "entry", "model"),
    [
        ("vllm serve org/m --port 1", "serve", "org/m"),
        ("CUDA_VISIBLE_DEVICES=0,1 nohup /opt/bin/vllm serve org/m &", "serve", "org/m"),
        ("python3 -m vllm.entrypoints.openai.api_server --model org/m", "api_server", "org/m"),
        ("uv run python -m vllm.entrypoints.openai.api_server --model=org/m", "api_server", "org/m"),
        ("docker run --gpus all -p 8000:8000 vllm/vllm-openai:v0.11.0 --model org/m", "image", "org/m"),
        ("docker run --rm -it vllm/vllm-openai org/m --port 1", "image", "org/m"),
        ("bash -lc 'cd /x && vllm serve org/m'", "serve", "org/m"),
        ('sh -c "exec vllm serve org/m --port 1"', "serve", "org/m"),
        ("if true; then vllm serve org/m; fi", "serve", "org/m"),
        ("vllm serve --model org/m", "serve", "org/m"),
    ],
)
def test_ways_to_start_a_server(text: str, entry: str, model: str) -> None:
    command = only(text)
    assert command.entry == entry
    assert parsed(text).model == model


def test_several_commands_and_what_is_none() -> None:
    text = "vllm bench serve m\nvllm serve a &\nvllm serve b --port 2 | tee log\necho 'vllm serve c'"
    assert [command.arguments[0].text for command in serve_commands(text)] == ["a", "b"]


def test_environment_of_a_command() -> None:
    text = "export A=1\nB=2 env C=3 vllm serve m\nvllm serve n"
    first, second = serve_commands(text)
    assert first.environment == {"A": "1", "B": "2", "C": "3"}
    assert second.environment == {"A": "1"}


def test_docker_options() -> None:
    command = only("docker run -e X=1 --env=Y=2 --gpus '\"device=0,1\"' --ipc=host vllm/vllm-openai:v0.19.1 --model m")
    assert command.environment == {"X": "1", "Y": "2"}
    assert (command.image_version, command.gpu_count, command.shared_memory) == ("0.19.1", 2, True)


@pytest.mark.parametrize(
    ("image", "version"),
    [
        ("vllm/vllm-openai:v0.11.0", "0.11.0"),
        ("ghcr.io/org/vllm-openai:0.9.2-cu128", "0.9.2"),
        ("vllm/vllm-openai:latest", None),
        ("vllm/vllm-openai", None),
        ("registry:5000/vllm:v0.33.0@sha256:00ff", "0.33.0"),
    ],
)
def test_release_of_an_image(image: str, version: str | None) -> None:
    assert image_version(image) == version


# --- flags as vLLM reads them ---------------------------------------------------------------------------------------


def _flag_errors(text: str) -> list[str]:
    command = only(text)
    found = flag_findings(command, parsed(text), ReadRelease(ENGINE, None, ""))
    return [finding.message for finding in found if finding.level == "error"]


@pytest.mark.parametrize("row", VERDICTS["lines"], ids=lambda row: row["command"][13:60])
def test_verdict_and_values_equal_those_of_vllm(row: dict[str, Any]) -> None:
    """A line is rejected exactly when vLLM rejects it, and every value read equals vLLM's."""
    assert (_flag_errors(row["command"]) == []) is row["accepted"]
    if row["accepted"]:
        read = {FIELDS[use.name]: use.value for use in parsed(row["command"]).uses if use.name in FIELDS}
        read = {name: -1 if value == "auto" and name == "max_model_len" else value for name, value in read.items()}
        assert row["values"].items() <= read.items()


@pytest.mark.parametrize("row", VERDICTS["configured"], ids=lambda row: row["command"][34:80])
def test_verdict_of_the_whole_configuration_equals_that_of_vllm(row: dict[str, Any]) -> None:
    report = lint_command(row["command"], "h100-sxm", "0.33", catalog=CATALOG, optimum=False).commands[0]
    errors = [finding for finding in report.findings if finding.level == "error"]
    assert (errors == []) is row["accepted"]
    assert report.starts is row["accepted"]


def test_there_are_enough_verdicts_of_both_kinds() -> None:
    rows = VERDICTS["lines"] + VERDICTS["configured"]
    assert sum(row["accepted"] for row in rows) > 50
    assert sum(not row["accepted"] for row in rows) > 50


@pytest.mark.parametrize(
    ("text", "rule", "part"),
    [
        ("--swap-space 4", "unknown_flag", "--swap-space"),
        ("--max-num-seqs 1k", "wrong_type", "write 1000"),
        ("--gpu-memory-utilization 90%", "wrong_type", "write 0.9"),
        ("--gpu-memory-utilization 0,9", "wrong_type", "write 0.9"),
        ("--kv-cache-dtype FP8", "wrong_choice", "write 'fp8'"),
        ("--enforce-eager=true", "flag_takes_no_value", "takes no value"),
        ("--enforce-eager true", "flag_takes_no_value", "leave it out"),
        ("--enable-prefix-caching false", "flag_takes_no_value", "--no-enable-prefix-caching"),
        ("\u2014max-num-seqs 4", "typographic_dash", "write --max-num-seqs"),
        ("--port", "missing_value", "expected one argument"),
        ("--max-num 4", "ambiguous_flag", "could match"),
        ("'--max-num-seqs 4'", "stray_word", "two words"),
        ("--max-model-len $LEN", "unresolved_variable", "$LEN"),
        ("--speculative-config {method:ngram}", "wrong_type", "single quotes"),
        ("--max-num-seq 4", "abbreviated_flag", "write --max-num-seqs"),
    ],
)
def test_problems_are_named(text: str, rule: str, part: str) -> None:
    problem = parsed(f"vllm serve m {text}").problems[0]
    assert problem.rule == rule
    assert part in problem.message


def test_older_releases_read_their_own_flags() -> None:
    assert parsed("vllm serve m --swap-space 8 --limit-mm-per-prompt image=2", "0.8.5").problems == ()
    assert parsed("vllm serve m --num-scheduler-steps 8", "0.6.6").value("num-scheduler-steps") == 8
