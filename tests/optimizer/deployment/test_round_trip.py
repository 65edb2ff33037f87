"""What the files say is what the plan says: hosts, GPUs, ports, words, and the estimate that `lint` makes of them."""

from collections import Counter
from pathlib import Path

import deployments
import pytest
import yaml
from deployments import CASES, kind, made, placed

from vllm_opt.optimizer.contract.request import EstimateRequest
from vllm_opt.optimizer.deployment.assembling import assembled
from vllm_opt.optimizer.deployment.container import MODEL_FOLDER, local_model
from vllm_opt.optimizer.deployment.deployment import Deployment, Service
from vllm_opt.optimizer.deployment.files import EMITS, files_of
from vllm_opt.optimizer.deployment.helm import TENSOR
from vllm_opt.optimizer.deployment.launch import NODE_FLAGS, joins_by_ray, plain_command
from vllm_opt.optimizer.estimation.estimate import estimate
from vllm_opt.optimizer.linter.lint import lint
from vllm_opt.optimizer.linter.subject.request import LintRequest
from vllm_opt.optimizer.serve_lines.commands import ServeCommand
from vllm_opt.optimizer.serve_lines.files.sources import read_source

ADDED = frozenset(("port", *NODE_FLAGS))
SWITCHES = frozenset(("headless",))


def written(deployment: Deployment, folder: Path) -> dict[str, Path]:
    """Every file on disk, by its path in the folder."""
    found = {}
    for path, text in files_of(deployment, tuple(EMITS)).items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
        found[path] = target
    return found


def own_words(command: ServeCommand) -> tuple[str, ...]:
    """The words of a command without those that say where it runs."""
    words, kept = iter(word.text for word in command.arguments), []
    for word in words:
        name = word.removeprefix("--")
        if word.startswith("--") and name in ADDED:
            if name not in SWITCHES:
                next(words)
        else:
            kept.append(word)
    return tuple(kept)


def expected_words(service: Service, *, contained: bool) -> tuple[str, ...]:
    """The words that the plan has, as a host or a container runs them."""
    words = plain_command(service.kind, service.nodes)[2:]
    return (MODEL_FOLDER, *words[1:]) if contained and local_model(service.kind) is not None else words


def commands_in(path: Path) -> list[ServeCommand]:
    """Every command that the linter reads in a file."""
    return list(read_source(str(path)).commands)


def services_of(deployment: Deployment, path: str) -> list[Service]:
    """The service that a file of one service is about, or all that the production stack starts."""
    name = path.rpartition("/")[2].removesuffix(".yaml").removeprefix("llm-d-")
    named = [service for service in deployment.services if service.name == name]
    return named or [service for service in deployment.services if service.nodes == 1]


@pytest.mark.parametrize("name", sorted(CASES))
def test_the_words_of_every_file_are_the_plans(name: str, tmp_path: Path) -> None:
    deployment = made(name)
    files = written(deployment, tmp_path)
    for host in deployment.hosts:
        services = [deployment.service(each.service) for each in host.processes if each.argv]
        for path, contained in ((f"scripts/{host.name}.sh", False), (f"compose/{host.name}.yaml", True)):
            if services:
                words = Counter(own_words(command) for command in commands_in(files[path]))
                assert words == Counter(expected_words(service, contained=contained) for service in services)
    for path, target in files.items():
        folder = path.partition("/")[0]
        if folder in ("kubernetes", "kserve", "helm") and "router" not in path and "optional" not in path:
            if path.endswith("shared-gpus.yaml"):
                continue
            services = services_of(deployment, path)
            assert {own_words(command) for command in commands_in(target)} == {
                plain(expected_words(service, contained=True), service, path) for service in services
            }, path


def plain(words: tuple[str, ...], service: Service, path: str) -> tuple[str, ...]:
    """The production stack's template states prefix caching and the tensor-parallel size itself."""
    if not path.endswith("production-stack.yaml"):
        return words
    switch = "--enable-prefix-caching" if service.kind.prefix_caching else "--no-enable-prefix-caching"
    tensor, rest = "1", list(words[1:])
    if TENSOR in rest:
        tensor = rest[rest.index(TENSOR) + 1]
        del rest[rest.index(TENSOR) : rest.index(TENSOR) + 2]
    return (words[0], switch, TENSOR, tensor, *rest)


@pytest.mark.parametrize("name", sorted(CASES))
def test_hosts_gpus_and_ports_are_the_plans(name: str) -> None:
    deployment = made(name)
    files = files_of(deployment, tuple(EMITS))
    busy = [host for host in deployment.hosts if host.processes]
    assert sum(path.startswith("scripts/") and path.endswith(".sh") for path in files) == len(busy)
    assert len([path for path in files if path.startswith("compose/") and path.endswith(".yaml")]) == len(busy)
    for host in busy:
        ports = [each.port for each in host.processes if each.port is not None]
        assert len(set(ports)) == len(ports)
        held: Counter[int] = Counter()
        for each in host.processes:
            held.update(dict.fromkeys(each.devices, round(4 * each.gpu_part)))
        assert max(held.values()) <= 4, "no GPU holds more than it has"
        assert max(held) < host.gpus
        check_compose(deployment, files[f"compose/{host.name}.yaml"], host.name)
    gpus = sum(service.replicas * service.kind.gpus * service.kind.gpu_part for service in deployment.services)
    assert sum(gpus_of_manifests(deployment, files).values()) == pytest.approx(gpus)


def check_compose(deployment: Deployment, text: str, name: str) -> None:
    host = next(host for host in deployment.hosts if host.name == name)
    services = {key: each for key, each in yaml.safe_load(text)["services"].items() if key != "router"}
    assert len(services) == len(host.processes)
    devices = []
    for each in services.values():
        if host.gpu.vendor == "amd":
            devices.append(each["environment"]["HIP_VISIBLE_DEVICES"].split(","))
        else:
            devices.append(each["deploy"]["resources"]["reservations"]["devices"][0]["device_ids"])
    assert Counter(map(tuple, devices)) == Counter(tuple(map(str, each.devices)) for each in host.processes)
    published = [int(port.partition(":")[0]) for each in services.values() for port in each.get("ports", ())]
    assert published == [each.port for each in host.processes if each.nodes == 1]


def gpus_of_manifests(deployment: Deployment, files: dict[str, str]) -> Counter[str]:
    """GPUs that the pods of the manifests hold: their requests, slices as parts, claims by the parts on them."""
    found: Counter[str] = Counter()
    for service in deployment.services:
        for document in yaml.safe_load_all(files[f"kubernetes/{service.name}.yaml"]):
            spec = document.get("spec", {})
            pods = spec.get("replicas", 1)
            if document["kind"] == "LeaderWorkerSet":
                pods, template = pods * spec["leaderWorkerTemplate"]["size"], spec["leaderWorkerTemplate"]
                container = template["workerTemplate"]["spec"]["containers"][0]
            elif document["kind"] in ("Deployment", "StatefulSet"):
                container = spec["template"]["spec"]["containers"][0]
            else:
                continue
            limits = container["resources"].get("limits", {})
            for resource, count in limits.items():
                found[resource] += pods * count * (service.kind.gpu_part if resource.endswith(".shared") else 1)
            if not limits:
                assert container["resources"]["claims"] == [{"name": "gpu"}]
                found["claim"] += pods * service.kind.gpu_part
    return found


ONE_OF_EACH = (
    "data-2", "eleven-over-three-hosts", "engines-over-hosts", "halves", "one-amd", "one-v0", "over-two-nodes", "two",
)  # fmt: skip


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_lint_reads_a_script_back_to_the_same_estimate(name: str, tmp_path: Path) -> None:
    deployment = made(name)
    files = written(deployment, tmp_path)
    host = deployment.hosts[0]
    service = deployment.service(host.processes[0].service)
    request = deployment.request or {}
    for path in (f"scripts/{host.name}.sh", f"kubernetes/{service.name}.yaml"):
        asked = LintRequest(
            file=str(files[path]), optimum=False, gpu=host.gpu.id if path.startswith("scripts") else None,
            vllm_version=service.kind.vllm_version if path.startswith("scripts") else None,
        )  # fmt: skip
        report = lint(asked)
        assert report.commands
        for command in report.commands:
            assert command.gpu == host.gpu.id
            assert command.starts is True
            assert not [finding for finding in command.findings if finding.level == "error"]
            assert command.memory is not None
            if request:
                memory = estimate(EstimateRequest(**request)).memory
                assert command.memory.num_gpu_blocks == memory.num_gpu_blocks
                assert command.memory.weights_bytes == memory.weights_bytes


def test_ray_is_started_once_on_each_host_before_a_release_that_joins_hosts_itself() -> None:
    deployment = made("over-two-nodes-by-ray")
    files = files_of(deployment, ("scripts", "compose"))
    service = deployment.services[0]
    assert joins_by_ray(service.kind, service.nodes)
    head, worker = files["scripts/node-1.sh"], files["scripts/node-2.sh"]
    assert head.index("ray start --head --port=6379") < head.index("vllm serve ")
    assert 'ray start --address="${NODE_1_ADDRESS}:6379" --block' in worker
    assert "vllm serve" not in worker
    assert "--distributed-executor-backend ray" in head
    services = [yaml.safe_load(files[f"compose/node-{n}.yaml"])["services"] for n in (1, 2)]
    assert [next(iter(each.values()))["network_mode"] for each in services] == ["host", "host"]


def test_hosts_are_joined_by_rank_and_the_heads_address() -> None:
    deployment = made("over-two-nodes")
    (head,), (worker,) = (host.processes for host in deployment.hosts)
    joined = ("--nnodes", "2", "--node-rank", "0", "--master-addr", "node-1", "--master-port", "29501")
    assert head.argv[-8:] == joined
    assert worker.argv[-9:] == (*joined[:3], "1", *joined[4:], "--headless")
    assert "--distributed-executor-backend" not in (*head.argv, *worker.argv)
    assert (head.role, head.port, worker.role, worker.port) == ("head", 8000, "worker", None)


def test_engines_over_hosts_start_whole_ones_on_each() -> None:
    (head,), (worker,) = (host.processes for host in made("engines-over-hosts").hosts)
    assert head.argv[-6:] == (
        "--data-parallel-size-local", "2", "--data-parallel-address", "a", "--data-parallel-rpc-port", "29501"
    )  # fmt: skip
    assert worker.argv[-7:-5] == ("--data-parallel-start-rank", "2")
    assert worker.argv[-1] == "--headless"


def test_hosts_keep_their_own_names_as_addresses_and_get_labels_that_a_shell_takes() -> None:
    big = kind(
        model="meta-llama/Llama-3.1-70B-Instruct", gpu="h100-sxm", tensor_parallel_size=8, pipeline_parallel_size=2
    )
    names = ("10-0-0-1", "GPU01.example.com")
    devices = tuple(range(8))
    deployment = assembled(
        "site", [deployments.host(name, "h100-sxm", 8) for name in names],
        [placed("big", 0, big, (names[1], devices), (names[0], devices))],
    )  # fmt: skip
    assert [(each.name, each.address) for each in deployment.hosts] == [
        ("host-10-0-0-1", "10-0-0-1"), ("gpu01-example-com", "GPU01.example.com"),
    ]  # fmt: skip
    head, worker = deployment.hosts[1].processes[0], deployment.hosts[0].processes[0]
    assert (head.role, worker.role) == ("head", "worker")
    files = files_of(deployment, ("scripts", "compose"))
    for name in ("host-10-0-0-1", "gpu01-example-com"):
        script = files[f"scripts/{name}.sh"]
        assert 'GPU01_EXAMPLE_COM_ADDRESS="${GPU01_EXAMPLE_COM_ADDRESS:-GPU01.example.com}"' in script
        assert '--master-addr "${GPU01_EXAMPLE_COM_ADDRESS}"' in script
        assert "${GPU01_EXAMPLE_COM_ADDRESS:-GPU01.example.com}" in files[f"compose/{name}.yaml"]
