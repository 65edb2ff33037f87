"""What a request over the network may not: files, downloads, more than its share; and what is no request at all."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from web_server import serving

from vllm_opt.optimizer.web.refusals import refuse_files, within_share
from vllm_opt.optimizer.web.settings import WebSettings
from vllm_opt.optimizer.web.verbs import verbs
from vllm_opt.profiles.errors import InvalidRequest

DEMAND = {"workloads": [{"name": "a", "model": "Qwen/Qwen3-8B", "workload": "chat", "requests_per_s": 1}]}


def refused(client: httpx.Client, verb: str, body: Any, status: int = 400) -> str:
    """The sentence of a refusal."""
    reply = client.post(f"/v1/{verb}", json=body)
    assert reply.status_code == status, reply.text
    document = reply.json()
    assert document.keys() == {"schema", "error"}
    assert document["schema"] == "vllm-opt/error/1"
    assert "\n" not in document["error"]
    assert "Traceback" not in document["error"]
    return str(document["error"])


@pytest.mark.parametrize(
    ("verb", "body"),
    [
        ("solve", {"prices": "/etc/hostname"}),
        ("solve", {"gpu_file": "gpus.json"}),
        ("solve", {"lengths": "/etc/hostname"}),
        ("estimate", {"lengths": ["trace.csv"]}),
        ("solve", {"model": "/etc/hostname"}),
        ("solve", {"model": ["./model"]}),
        ("solve", {"model": "~/model"}),
        ("solve", {"model": "some/config.json"}),
        ("solve", {"speculative_config": '{"method": "eagle", "model": "/etc", "num_speculative_tokens": 2}'}),
        ("estimate", {"speculative_config": {"method": "eagle", "model": "../x", "num_speculative_tokens": 2}}),
        ("lint", {"file": "/etc/hostname", "gpu": "h100"}),
        ("lint", {"paths": ["/etc"], "gpu": "h100"}),
        ("procure", {**DEMAND, "money": {"prices": "/etc/hostname"}}),
        ("procure", {"workloads": [{"name": "a", "model": "/srv/model", "concurrency": 1}]}),
    ],
)
def test_what_names_a_file_is_refused(client: httpx.Client, verb: str, body: Any) -> None:
    assert "no file is read" in refused(client, verb, body)


def test_no_field_that_names_a_file_was_forgotten() -> None:
    for verb in verbs():
        for name, field in verb.request_type.model_fields.items():
            words = (field.description or "").lower()
            if name.endswith("_file") or any(word in words for word in ("path of", " file:", "files,", "jsonl")):
                with pytest.raises(InvalidRequest, match="names a file"):
                    refuse_files({name: "/etc/hostname"})


def test_an_unknown_model_is_never_downloaded(client: httpx.Client) -> None:
    assert "is not in the catalogue" in refused(client, "solve", {"model": "nobody/has-this-model"})


@pytest.mark.parametrize("there", [True, False])
def test_a_linted_line_leads_to_no_file(client: httpx.Client, tmp_path: Path, there: bool) -> None:
    file = tmp_path / "serve.yaml"
    if there:
        file.write_text("max-model-len: 1234\n", encoding="utf-8")
    body = {"command": f"vllm serve Qwen/Qwen3-8B --config {file}", "gpu": "h100", "optimum": False}
    found = client.post("/v1/lint", json=body)
    assert found.status_code == 200
    assert "1234" not in found.text
    assert "did not come with the command" in found.text


def test_a_draft_named_in_a_line_is_not_looked_for(client: httpx.Client, tmp_path: Path) -> None:
    answers = []
    for name in ("here", "gone"):
        folder = tmp_path / name
        if name == "here":
            folder.mkdir()
            (folder / "config.json").write_text('{"hidden_size": "secret"}', encoding="utf-8")
        config = json.dumps({"method": "eagle", "model": str(folder), "num_speculative_tokens": 2})
        body = {"command": f"vllm serve Qwen/Qwen3-8B --speculative-config '{config}'", "gpu": "h100", "optimum": False}
        answers.append(client.post("/v1/lint", json=body).text.replace(str(folder), ""))
    assert answers[0] == answers[1]


@pytest.mark.parametrize("asked", [31, "1e3", 1e300, [60], 10**400])
def test_more_time_than_a_share_is_refused(asked: object) -> None:
    with pytest.raises(InvalidRequest, match="30 seconds"):
        within_share({"time_limit": asked}, 30.0, 30.0)


def test_the_share_is_the_default() -> None:
    assert within_share({"model": "x"}, 12.0, 30.0) == {"model": "x", "time_limit": 12.0}
    assert within_share({"model": "x"}, 30.0, 30.0) == {"model": "x"}
    assert within_share({"time_limit": 5}, 12.0, 30.0) == {"time_limit": 5}
    with pytest.raises(InvalidRequest, match="1 thread"):
        within_share({"workers": "8"}, 12.0, 30.0)


def test_nesting_has_an_end() -> None:
    body: Any = {}
    for _ in range(100):
        body = {"a": [body]}
    with pytest.raises(InvalidRequest, match="nested"):
        refuse_files(body)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[1]", b"null", b'{"model":', b'{"a": NaN}', b'{"gpus": 1, "gpus": 2}', b"\xff\xfe", b"[" * 60000,
        b'{"gpus": -1}', b'{"target_context": 1e999}', b'{"modl": "x"}', b'{"model": 7}', b'{"gpu": [[["h100"]]]}',
        b'{"model": "<script>alert(1)</script>"}', b'{"concurrency": true}', b'{"target_context": "8q"}',
    ],
)  # fmt: skip
def test_what_is_no_request_gets_one_sentence(client: httpx.Client, body: bytes) -> None:
    reply = client.post("/v1/solve", content=body, headers={"content-type": "application/json"})
    assert reply.status_code == 400
    assert reply.json()["schema"] == "vllm-opt/error/1"
    assert reply.headers["content-type"].startswith("application/json")
    assert reply.headers["x-content-type-options"] == "nosniff"


def test_a_body_is_json_and_not_too_long(client: httpx.Client) -> None:
    assert client.post("/v1/solve", content=b"{}", headers={"content-type": "text/plain"}).status_code == 415
    long = client.post("/v1/solve", content=b" " * 65537, headers={"content-type": "application/json"})
    assert long.status_code == 413
    assert long.json()["schema"] == "vllm-opt/error/1"


def test_other_paths_methods_and_formats(client: httpx.Client) -> None:
    assert client.get("/v1/nothing").status_code == 404
    assert client.get("/v1/solve").status_code == 405
    assert client.get("/page/../app.py").status_code == 404
    assert client.post("/v1/solve?format=exe", json={}).status_code == 400
    assert client.get("/v1/gpus", params={"name": "x" * 500}).json()["schema"] == "vllm-opt/error/1"


def test_another_host_name_gets_nothing(client: httpx.Client) -> None:
    assert client.get("/healthz", headers={"host": "attacker.example"}).status_code == 421
    assert client.get("/healthz", headers={"host": "localhost:8600"}).status_code == 200


def test_a_token_is_asked_for_and_a_full_queue_says_so() -> None:
    settings = WebSettings(processes=1, queue=0, token="sesame")
    with serving(settings) as served, httpx.Client(base_url=served.address, timeout=120) as client:
        assert client.get("/healthz").status_code == 200
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Basic sesame"}):
            reply = client.get("/v1/gpus", headers=headers)
            assert reply.status_code == 401
            assert reply.headers["www-authenticate"] == "Bearer"
            assert client.get("/metrics", headers=headers).status_code == 401
        right = {"authorization": "Bearer sesame"}
        served.app.state.pool.inside = 1
        full = client.get("/v1/gpus", headers=right)
        assert full.status_code == 429
        assert full.headers["retry-after"] == "1"
        served.app.state.pool.inside = 0
        assert client.get("/v1/gpus", headers=right).status_code == 200
