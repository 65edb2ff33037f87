"""Values from outside stay values: in shell, YAML, Markdown and the folder's paths."""

import json
import os
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from deployments import CATALOG, host, made
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from vllm_opt.optimizer.deployment.assembling import assembled
from vllm_opt.optimizer.deployment.deployment import Deployment, Part, PlacedServer, ServerKind
from vllm_opt.optimizer.deployment.files import EMITS, files_of
from vllm_opt.optimizer.deployment.single_file import command_lines, env_file
from vllm_opt.optimizer.deployment.worker_group import group_script

HOSTILE = (
    "$(touch pwned)", "`touch pwned`", "'; touch pwned #", '"; touch pwned; "', "${HOME}", "$$(x)", "a b", "{{ .V }}",
    "<script>x</script>", "--- \nkind: Evil", "# comment", "&anchor *alias !!python/object", "é\u2028x", "]](", "%n%h",
    "yes", "1e3", "~", "|", "a\nb\n", "\\", "'", "$((1+1))", "-", "\t",
)  # fmt: skip
TEXTS = st.sampled_from(HOSTILE) | st.text(
    st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=30
)
FEW = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
STUB = """#!/bin/sh
printf '%s\\0' "$#" "$@" "$OWN" >>"$SEEN"
"""
"""A stand-in for vllm: the number of words, the words, and one variable."""


def kind_with(text: str, nodes: int = 1) -> ServerKind:
    """A server whose model, flags, environment and comments all come from outside."""
    return ServerKind(
        command=("vllm", "serve", f"./{text}", "--served-model-name", text, "--max-num-seqs", "8"), env={"OWN": text},
        gpu=CATALOG.gpu("l40s"), gpus=nodes, vllm_version="0.33", image_version="0.33.0",
        flags_known=frozenset(("nnodes",)), summary=text, comments=(text,),
    )  # fmt: skip


def deployment_with(text: str, nodes: int = 1) -> Deployment:
    """Two servers of it, under names from outside."""
    hosts = [host(f"{text}{number}", "l40s", 2) for number in range(nodes)]
    servers = [
        PlacedServer(
            service=text, replica=replica, kind=kind_with(text, nodes),
            parts=tuple(Part(host=each.name, devices=(replica,)) for each in hosts),
        )
        for replica in range(2)
    ]  # fmt: skip
    return assembled(text, hosts, servers, request={"model": text})


def seen_by_vllm(command: list[str], folder: Path, **variables: str) -> list[Any]:
    """What a stand-in for vllm is called with when bash runs this."""
    stub = folder / "bin" / "vllm"
    stub.parent.mkdir(exist_ok=True)
    stub.write_text(STUB)
    stub.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{stub.parent}:{os.environ['PATH']}",
        "SEEN": str(folder / "seen"),
        **variables,
    }
    subprocess.run(command, cwd=folder, env=environment, check=True, timeout=60, capture_output=True)
    return records((folder / "seen").read_bytes())


def records(content: bytes) -> list[Any]:
    """Words and variable of every call."""
    fields, found = iter(content.decode().split("\0")[:-1]), []
    for count in fields:
        words = [next(fields) for _ in range(int(count))]
        found.append([words, next(fields)])
    return found


@FEW
@given(text=TEXTS)
@example("$(touch pwned)")
@example("a\nb")
def test_bash_hands_vllm_the_plans_words_and_runs_nothing_else(text: str) -> None:
    deployment = deployment_with(text)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        script = folder / "node.sh"
        script.write_text(files_of(deployment, ("scripts",))[f"scripts/{deployment.hosts[0].name}.sh"])
        seen = seen_by_vllm(["bash", str(script)], folder)
        words = list(kind_with(text).command[1:])
        assert sorted(seen) == sorted([[*words, "--port", port], text] for port in ("8000", "8001"))
        assert not (folder / "pwned").exists()
        assert {path.name for path in folder.iterdir()} == {"bin", "logs", "node.sh", "seen"}


@FEW
@given(text=TEXTS)
@example("$(touch pwned)")
def test_a_pods_shell_hands_them_over_too(text: str) -> None:
    deployment = deployment_with(text, nodes=2)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for worker in (False, True):
            script = group_script(deployment.services[0], worker=worker).replace("$$(", "$(")
            seen_by_vllm(["bash", "-c", script], folder, LWS_LEADER_ADDRESS="lead er", LWS_WORKER_INDEX="1")
        (head, _), (worker_words, _) = records((folder / "seen").read_bytes())
        own = ["serve", "/model", "--served-model-name", text, "--max-num-seqs", "8"]
        joined = ["--nnodes", "2", "--node-rank", "0", "--master-addr", "lead er", "--master-port", "29501"]
        assert head == [*own, "--port", "8000", *joined]
        assert worker_words == [*own, *joined[:3], "1", *joined[4:], "--headless"]
        assert not (folder / "pwned").exists()


@FEW
@given(text=TEXTS)
@example("--- \nkind: Evil")
@example("é\u2028x")
@example("\x85")
def test_yaml_holds_the_words_and_no_more_documents(text: str) -> None:
    deployment = deployment_with(text)
    files = files_of(deployment, tuple(EMITS))
    service = deployment.services[0]
    plain = files_of(made("two"), tuple(EMITS))
    assert sorted(re.sub(r"[^/]+$", "", path) for path in files) == sorted(
        re.sub(r"[^/]+$", "", path) for path in plain
    )
    compose = yaml.safe_load(files[f"compose/{deployment.hosts[0].name}.yaml"])["services"][f"{service.name}-0"]
    assert [word.replace("$$", "$") for word in compose["command"]] == ["/model", *kind_with(text).command[3:]]
    assert compose["environment"]["OWN"].replace("$$", "$") == text
    assert compose["volumes"][1]["source"].replace("$$", "$") == f"./{text}"
    documents = list(yaml.safe_load_all(files[f"kubernetes/{service.name}.yaml"]))
    assert [each["kind"] for each in documents] == ["PersistentVolumeClaim", "StatefulSet", "Service", "Service"]
    container = documents[1]["spec"]["template"]["spec"]["containers"][0]
    assert [word.replace("$$(", "$(") for word in container["args"]] == ["/model", *kind_with(text).command[3:]]
    assert {"name": "OWN", "value": text.replace("$(", "$$(")} in container["env"]
    assert json.loads(files["expected.json"])["request"] == {"model": text}


@FEW
@given(text=TEXTS)
@example("<script>alert(1)</script>")
@example("``` \n<img src=x>")
def test_the_page_has_no_tag_and_no_second_heading(text: str) -> None:
    page = files_of(deployment_with(text))["README.md"]
    outside = re.sub(r"(`+)(?:(?!\1).)*?\1(?!`)", "", page)
    assert "<" not in outside
    assert [line for line in page.splitlines() if line.startswith("# ")] == page.splitlines()[:1]


@FEW
@given(text=TEXTS)
def test_single_texts_are_read_back_by_a_shell(text: str) -> None:
    deployment = deployment_with(text)
    script = f"{env_file(deployment)}\nprintf '%s' \"$MODEL\""
    shell = subprocess.run(["bash", "-c", script], capture_output=True, check=True, timeout=20)
    assert shell.stdout.decode() == f"./{text}"
    with tempfile.TemporaryDirectory() as name:
        seen = seen_by_vllm(["bash", "-c", command_lines(deployment)], Path(name))
    assert [own for _, own in seen] == [text, text]


@pytest.mark.parametrize("path", ["../out", "/etc/x", "a/../../b"])
def test_no_path_of_the_folder_comes_from_outside(path: str) -> None:
    for name in files_of(deployment_with(path), tuple(EMITS)):
        assert not Path(name).is_absolute()
        assert ".." not in Path(name).parts
