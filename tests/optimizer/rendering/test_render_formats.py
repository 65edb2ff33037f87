"""Every other form of an answer: JSON, YAML, command, environment, compose, Kubernetes, HTML."""

import json
import shlex
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

from vllm_opt.optimizer.contract.answer import Answer, Estimate, Plan
from vllm_opt.optimizer.deployment.deployment import Deployment
from vllm_opt.optimizer.deployment.kinds import kind_of_plan
from vllm_opt.optimizer.deployment.of_plan import replicated
from vllm_opt.optimizer.deployment.single_file import command_lines, compose_file, env_file, kubernetes_manifests
from vllm_opt.optimizer.rendering.command import wrapped_command
from vllm_opt.optimizer.rendering.formats import render_answer, render_estimate
from vllm_opt.optimizer.rendering.screen import Screen
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.errors import InvalidRequest

ANSWERS = Path(__file__).parents[2] / "data" / "answers"
SCREEN = Screen(80)


def read_answer(name: str) -> Answer:
    return Answer.model_validate_json((ANSWERS / f"{name}.json").read_text(encoding="utf-8"))


def read_estimate() -> Estimate:
    return Estimate.model_validate_json((ANSWERS / "estimate.json").read_text(encoding="utf-8"))


def plan(**changes: object) -> Plan:
    found = read_answer("optimal").plan
    assert found is not None
    return found.model_copy(update=changes)


def spec(gpu: str = "l40s", **changes: object) -> Deployment:
    found = plan(**changes)
    return replicated(kind_of_plan(found, Catalog().gpu(gpu)), found.replicas, None, request={})


@pytest.mark.parametrize("name", ["optimal", "infeasible", "front"])
def test_json_and_yaml_are_the_model_dump(name: str) -> None:
    answer = read_answer(name)
    document = answer.model_dump(mode="json")
    assert json.loads(render_answer(answer, "json", SCREEN)) == document
    assert yaml.safe_load(render_answer(answer, "yaml", SCREEN)) == document
    assert document["schema"] == "vllm-opt/plan/1"


def test_relaxations_have_the_keys_of_the_contract() -> None:
    document = json.loads(render_answer(read_answer("infeasible"), "json", SCREEN))
    relaxation = document["explanation"]["relaxations"][0]
    assert (relaxation["change"], relaxation["from"], relaxation["to"]) == ("target_context", 131072, 40960)


def test_command_is_one_line_that_a_shell_reads_back() -> None:
    line = command_lines(spec(replicas=1, gpu_count=2))
    assert shlex.split(line)[0] == "VLLM_USE_V1=1"
    assert shlex.split(line)[1:] == shlex.split(plan().command)


def test_several_servers_have_a_line_each_with_their_own_devices_and_port() -> None:
    lines = [shlex.split(line, comments=True) for line in command_lines(spec()).splitlines()]
    words = [line for line in lines if line]
    assert [line[:2] for line in words] == [
        ["VLLM_USE_V1=1", "CUDA_VISIBLE_DEVICES=0,1"], ["VLLM_USE_V1=1", "CUDA_VISIBLE_DEVICES=2,3"]
    ]  # fmt: skip
    command = shlex.split(plan().command)
    assert [line[2:] for line in words] == [[*command, "--port", port] for port in ("8000", "8001")]


def test_the_front_is_one_command_per_plan() -> None:
    assert len(render_answer(read_answer("front"), "command", SCREEN).splitlines()) == 2
    with pytest.raises(InvalidRequest, match="pareto"):
        render_answer(read_answer("front"), "compose", SCREEN)


@pytest.mark.parametrize("format_name", ["command", "env", "compose", "kubernetes"])
def test_without_a_plan_the_reasons_are_comments(format_name: str) -> None:
    lines = render_answer(read_answer("infeasible"), format_name, SCREEN).splitlines()
    assert all(line.startswith("# ") for line in lines)
    assert "# would help: --target-context 40960" in lines
    lines = render_estimate(read_estimate(), format_name, SCREEN).splitlines()
    assert lines == ["# does not fit: the KV cache of one sequence does not fit; lower --max-model-len to 4096"]


def test_words_with_spaces_survive_wrapping() -> None:
    command = "vllm serve '/models/my model' --max-model-len 8192 --enforce-eager --override '{\"a b\": 1}'"
    wrapped = wrapped_command(command, {"A": "x y"}, 40)
    assert shlex.split(wrapped.replace("\\\n", " ")) == ["A=x y", *shlex.split(command)]
    assert all(len(line) <= 42 for line in wrapped.splitlines())


def test_env_is_what_a_shell_can_source() -> None:
    values = dict(word.split("=", 1) for word in shlex.split(env_file(spec())))
    assert values["VLLM_USE_V1"] == "1"
    assert values["MODEL"] == "meta-llama/Llama-3.1-8B-Instruct"
    assert (values["REPLICAS"], values["GPUS_PER_REPLICA"]) == ("2", "2")
    assert ["vllm", "serve", values["MODEL"], *shlex.split(values["SERVE_ARGS"])] == shlex.split(plan().command)


def test_compose_gives_each_replica_its_own_gpus_and_port() -> None:
    services = yaml.safe_load(compose_file(spec()))["services"]
    assert list(services) == ["vllm-llama-3-1-8b-instruct-0", "vllm-llama-3-1-8b-instruct-1"]
    devices = [service["deploy"]["resources"]["reservations"]["devices"][0] for service in services.values()]
    assert [device["device_ids"] for device in devices] == [["0", "1"], ["2", "3"]]
    assert [service["ports"] for service in services.values()] == [["8000:8000"], ["8001:8000"]]
    first = services["vllm-llama-3-1-8b-instruct-0"]
    assert first["image"] == "vllm/vllm-openai:v0.33.0"
    assert first["entrypoint"] + first["command"] == shlex.split(plan().command)


def test_compose_says_how_many_hosts() -> None:
    text = compose_file(spec(gpu_count=22, replicas=11))
    assert "11 servers need 3 hosts: start this file, 4 servers, on each of them" in text
    names = " ".join(f"vllm-llama-3-1-8b-instruct-{replica}" for replica in range(3))
    assert f"on node-3 only 3: docker compose up {names}" in text
    assert len(yaml.safe_load(text)["services"]) == 4


def test_compose_does_not_let_compose_read_dollars() -> None:
    service = yaml.safe_load(compose_file(spec(command="vllm serve 'a$b' --seed 1", replicas=1, gpu_count=1)))
    assert service["services"]["vllm-a-b"]["command"][0] == "a$$b"


def test_amd_takes_other_images_and_resources() -> None:
    service = next(iter(yaml.safe_load(compose_file(spec("mi300x")))["services"].values()))
    assert service["image"] == "vllm/vllm-openai-rocm:v0.33.0"
    assert service["devices"] == ["/dev/kfd", "/dev/dri"]
    workload = next(yaml.safe_load_all(kubernetes_manifests(spec("mi300x"))))
    pod = workload["spec"]["template"]["spec"]
    assert pod["containers"][0]["resources"]["limits"] == {"amd.com/gpu": 2}
    assert pod["nodeSelector"] == {"amd.com/gpu.product-name": "AMD_Instinct_MI300X"}


def test_kubernetes_has_one_pod_per_replica_and_a_service() -> None:
    text = kubernetes_manifests(spec())
    documents = {(each["kind"], each["metadata"]["name"]): each for each in yaml.safe_load_all(text)}
    name = "vllm-llama-3-1-8b-instruct"
    workload, service = documents["StatefulSet", name], documents["Service", name]
    assert workload["spec"]["replicas"] == 2
    pod = workload["spec"]["template"]
    container = pod["spec"]["containers"][0]
    assert container["resources"]["limits"] == {"nvidia.com/gpu": 2}
    assert container["command"] + container["args"] == shlex.split(plan().command)
    assert {"name": "VLLM_USE_V1", "value": "1"} in container["env"]
    assert pod["spec"]["volumes"][0]["emptyDir"] == {"medium": "Memory", "sizeLimit": "4Gi"}
    selector = workload["spec"]["selector"]["matchLabels"]
    assert service["spec"]["selector"] == selector == {"app": name}
    assert pod["metadata"]["labels"].items() >= selector.items()
    assert workload["spec"]["serviceName"] == f"{name}-pods"
    assert documents["Service", f"{name}-pods"]["spec"]["clusterIP"] == "None"
    assert "&id" not in text


def test_a_model_that_is_a_folder_is_mounted() -> None:
    local = spec(command="vllm serve ./Llama-w4a16 --max-model-len 8192", replicas=1, gpu_count=1)
    service = yaml.safe_load(compose_file(local))["services"]["vllm-llama-w4a16"]
    assert service["command"] == ["/model", "--max-model-len", "8192"]
    mounted = {"type": "bind", "source": "./Llama-w4a16", "target": "/model", "read_only": True}
    assert mounted in service["volumes"]
    manifests = list(yaml.safe_load_all(kubernetes_manifests(local)))
    pod = next(each for each in manifests if each["kind"] == "Deployment")["spec"]["template"]["spec"]
    assert pod["containers"][0]["args"][0] == "/model"
    mounts = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    assert mounts["model"] == "/model"
    claims = [volume["persistentVolumeClaim"]["claimName"] for volume in pod["volumes"] if volume["name"] == "model"]
    assert claims == ["vllm-llama-w4a16-model"]
    assert dict(word.split("=", 1) for word in shlex.split(env_file(local)))["MODEL"] == "./Llama-w4a16"


def test_a_server_that_spans_nodes_is_no_single_compose_file_but_a_group_of_pods() -> None:
    over_nodes = spec(gpu_count=16, replicas=1)
    with pytest.raises(InvalidRequest, match=r"spans 2 nodes.*--save-dir"):
        compose_file(over_nodes)
    manifests = {each["kind"]: each for each in yaml.safe_load_all(kubernetes_manifests(over_nodes))}
    assert manifests["LeaderWorkerSet"]["spec"]["leaderWorkerTemplate"]["size"] == 2


@pytest.mark.parametrize(
    ("model", "name"),
    [("Qwen/Qwen3-8B", "vllm-qwen3-8b"), ("/models/My Model/", "vllm-my-model"), ("___", "vllm"), ("x" * 90, None)],
)
def test_names_are_what_dns_accepts(model: str, name: str | None) -> None:
    found = spec(command=shlex.join(["vllm", "serve", model])).services[0].name
    assert found == (name or "vllm-" + "x" * 45)


# --- the page -------------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """Collects tags, attributes and text of a page."""

    VOID = frozenset({"meta"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data + "\n"


@pytest.mark.parametrize("name", ["optimal", "infeasible", "front"])
def test_the_page_is_well_formed_and_loads_nothing(name: str) -> None:
    text = render_answer(read_answer(name), "html", SCREEN)
    page = Page(text)
    assert page.open == []
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    assert not {"src", "onload", "onclick"} & {name for name, _ in page.attributes}
    assert all(str(value).startswith("https://") for name, value in page.attributes if name == "href")
    assert "url(" not in text


def test_the_page_says_what_the_table_says() -> None:
    text = Page(render_answer(read_answer("optimal"), "html", SCREEN)).text
    for part in ("proven optimal", "each takes 16 of the 32 sequences", "12,800 blocks", "1 x h100-sxm", "15.00 GiB"):
        assert part in text
    infeasible = Page(render_answer(read_answer("infeasible"), "html", SCREEN)).text
    assert "memory_budget: weights and one sequence exceed the budget of l4" in infeasible
    assert "--target-context 40960" in infeasible


def test_the_front_is_drawn_with_one_dot_per_plan() -> None:
    assert Page(render_answer(read_answer("front"), "html", SCREEN)).tags.count("circle") == 2


def test_names_cannot_become_html() -> None:
    hostile = '"><script>alert(1)</script>'
    answer = read_answer("optimal")
    changed = plan(model=hostile, notes=(hostile,), checkpoint=hostile, gpu=hostile)
    page = Page(
        render_answer(answer.model_copy(update={"plan": changed, "request": {"model": hostile}}), "html", SCREEN)
    )
    assert "script" not in page.tags
    assert hostile in page.text


def test_the_estimate_page_shows_the_sum() -> None:
    page = Page(render_estimate(read_estimate(), "html", SCREEN))
    assert page.open == []
    assert "50,465,865,728" in page.text
    assert "does not fit" in page.text
