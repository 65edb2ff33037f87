"""Deployments of every kind, made from estimated configurations so that they cost no search."""

from collections.abc import Callable
from functools import cache
from typing import Any

from vllm_opt.optimizer.contract.answer import Estimate
from vllm_opt.optimizer.contract.request import EstimateRequest
from vllm_opt.optimizer.deployment.assembling import assembled
from vllm_opt.optimizer.deployment.deployment import Deployment, HostSpec, Part, PlacedServer, ServerKind
from vllm_opt.optimizer.deployment.kinds import kind_of_estimate
from vllm_opt.optimizer.deployment.of_plan import replicated
from vllm_opt.optimizer.estimation.command import command_of_estimate
from vllm_opt.optimizer.estimation.estimate import estimate
from vllm_opt.profiles.catalogues.catalog import Catalog

CATALOG = Catalog()


@cache
def estimated(**fields: Any) -> Estimate:
    """One estimate."""
    found = estimate(EstimateRequest(**{"max_model_len": 4096, "max_num_seqs": 16, **fields}), CATALOG)
    assert found.fits, found.violations
    return found


def kind(**fields: Any) -> ServerKind:
    """The servers of an estimated configuration; `gpu_part` is not the estimate's."""
    part = fields.pop("gpu_part", 1.0)
    found = estimated(**fields)
    made = kind_of_estimate(found, command_of_estimate(found), CATALOG.gpu(fields["gpu"]), CATALOG)
    return made.model_copy(update={"gpu_part": part})


def alike(replicas: int, **fields: Any) -> Deployment:
    """Equal servers on the SKU's usual machines."""
    return replicated(kind(**fields), replicas, None, request=estimated(**fields).request, source="estimate")


def host(name: str, gpu: str, gpus: int) -> HostSpec:
    """A machine."""
    return HostSpec(name=name, gpu=CATALOG.gpu(gpu), gpus=gpus)


def placed(service: str, replica: int, made: ServerKind, *parts: tuple[str, tuple[int, ...]]) -> PlacedServer:
    """A server on its devices."""
    places = tuple(Part(host=name, devices=devices) for name, devices in parts)
    return PlacedServer(service=service, replica=replica, kind=made, parts=places)


def halves() -> Deployment:
    """Four halves of two GPUs, on one host."""
    half = kind(model="Qwen/Qwen3-8B", gpu="h100-sxm", gpu_memory_utilization=0.45, gpu_part=0.5)
    servers = [placed("chat", r, half, ("box", (r // 2,))) for r in range(4)]
    return assembled("halves", [host("box", "h100-sxm", 2)], servers)


def mixed_parts() -> Deployment:
    """A half and two quarters of one GPU beside a server on a whole one."""
    half = kind(model="Qwen/Qwen3-8B", gpu="h100-sxm", gpu_memory_utilization=0.45, gpu_part=0.5)
    quarter = kind(model="Qwen/Qwen3-0.6B", gpu="h100-sxm", gpu_memory_utilization=0.2, gpu_part=0.25)
    whole = kind(model="Qwen/Qwen3-14B", gpu="h100-sxm")
    servers = [
        placed("chat", 0, half, ("box", (0,))),
        placed("tags", 0, quarter, ("box", (0,))),
        placed("tags", 1, quarter, ("box", (0,))),
        placed("code", 0, whole, ("box", (1,))),
    ]
    return assembled("mixed", [host("box", "h100-sxm", 2)], servers)


def fleet_on_two_nodes() -> Deployment:
    """What the first edition started four times instead of twice: eight servers on each of two nodes."""
    assistant = kind(model="meta-llama/Llama-3.1-8B-Instruct", gpu="h100-sxm", max_model_len=16384)
    documents = kind(model="Qwen/Qwen2.5-7B-Instruct", gpu="h100-sxm", max_model_len=32768)
    layout = {"first": (3, 5), "second": (7, 1)}
    servers, counts = [], {"assistant": 0, "documents": 0}
    for name, (first, second) in layout.items():
        for device in range(first + second):
            service = "assistant" if device < first else "documents"
            made = assistant if service == "assistant" else documents
            servers.append(placed(service, counts[service], made, (name, (device,))))
            counts[service] += 1
    return assembled("fleet", [host(name, "h100-sxm", 8) for name in layout], servers)


def one_workload_on_two_skus() -> Deployment:
    """One service on cards of two vendors."""
    servers = [
        placed("chat", 0, kind(model="Qwen/Qwen3-8B", gpu="h100-sxm"), ("green", (0,))),
        placed("chat", 1, kind(model="Qwen/Qwen3-8B", gpu="mi300x"), ("red", (0,))),
    ]
    return assembled("both", [host("green", "h100-sxm", 8), host("red", "mi300x", 8)], servers)


def engines_over_hosts() -> Deployment:
    """A mixture of experts whose engines stand on two hosts."""
    wide = kind(
        model="Qwen/Qwen3-30B-A3B",
        gpu="l40s",
        tensor_parallel_size=2,
        data_parallel_size=4,
        enable_expert_parallel=True,
    )
    parts = (("a", (0, 1, 2, 3)), ("b", (0, 1, 2, 3)))
    return assembled("wide", [host("a", "l40s", 4), host("b", "l40s", 4)], [placed("wide", 0, wide, *parts)])


BIG: dict[str, Any] = {"model": "meta-llama/Llama-3.1-70B-Instruct", "gpu": "h100-sxm"}
CASES: dict[str, Callable[[], Deployment]] = {
    "one": lambda: alike(1, model="Qwen/Qwen3-8B", gpu="l4"),
    "one-a100": lambda: alike(1, model="Qwen/Qwen3-8B", gpu="a100-sxm4-80gb", kv_cache_dtype="fp8"),
    "one-fp8": lambda: alike(1, model="Qwen/Qwen3-8B", gpu="h100-sxm", quantization="fp8"),
    "one-hybrid": lambda: alike(1, model="nvidia/NVIDIA-Nemotron-Nano-9B-v2", gpu="h100-sxm"),
    "one-experts": lambda: alike(1, model="openai/gpt-oss-120b", gpu="h100-sxm"),
    "one-amd": lambda: alike(1, model="Qwen/Qwen3-14B", gpu="mi300x"),
    "one-eager": lambda: alike(1, model="Qwen/Qwen3-8B", gpu="rtx-4090", enforce_eager=True, max_model_len=2048),
    "one-no-prefixes": lambda: alike(1, model="Qwen/Qwen3-8B", gpu="l40s", enable_prefix_caching=False),
    "one-old": lambda: alike(1, model="Qwen/Qwen2.5-7B-Instruct", gpu="l40s", vllm_version="0.8.5"),
    "one-v0": lambda: alike(1, model="Qwen/Qwen2.5-7B-Instruct", gpu="l40s", vllm_version="0.8.5", engine="v0"),
    "tensor-2": lambda: alike(1, model="Qwen/Qwen3-32B", gpu="a100-sxm4-80gb", tensor_parallel_size=2),
    "tensor-8": lambda: alike(1, **BIG, tensor_parallel_size=8),
    "pipeline-2": lambda: alike(1, model="Qwen/Qwen3-32B", gpu="l40s", pipeline_parallel_size=4),
    "data-2": lambda: alike(1, model="Qwen/Qwen3-30B-A3B", gpu="h100-sxm", data_parallel_size=2),
    "experts-8": lambda: alike(1, model="Qwen/Qwen3-235B-A22B", gpu="h100-sxm", tensor_parallel_size=8,
                               enable_expert_parallel=True),
    "two": lambda: alike(2, model="Qwen/Qwen3-8B", gpu="rtx-4090", max_model_len=2048),
    "three": lambda: alike(3, model="Qwen/Qwen3-8B", gpu="l40s"),
    "two-of-two": lambda: alike(2, model="Qwen/Qwen3-32B", gpu="a100-sxm4-80gb", tensor_parallel_size=2),
    "two-amd": lambda: alike(2, model="Qwen/Qwen3-14B", gpu="mi300x"),
    "twelve-over-two-hosts": lambda: alike(12, model="Qwen/Qwen3-8B", gpu="h100-sxm"),
    "eleven-over-three-hosts": lambda: alike(11, model="Qwen/Qwen3-32B", gpu="h100-sxm", tensor_parallel_size=2),
    "seven-on-small-hosts": lambda: alike(7, model="Qwen/Qwen3-8B", gpu="a10g"),
    "over-two-nodes": lambda: alike(1, **BIG, tensor_parallel_size=8, pipeline_parallel_size=2),
    "over-two-nodes-twice": lambda: alike(2, **BIG, tensor_parallel_size=8, pipeline_parallel_size=2),
    "over-two-nodes-by-ray": lambda: alike(1, **BIG, tensor_parallel_size=8, pipeline_parallel_size=2,
                                           vllm_version="0.10.2"),
    "engines-over-hosts": engines_over_hosts,
    "halves": halves,
    "mixed-parts": mixed_parts,
    "fleet-on-two-nodes": fleet_on_two_nodes,
    "one-workload-on-two-skus": one_workload_on_two_skus,
}  # fmt: skip


@cache
def made(name: str) -> Deployment:
    """One case."""
    return CASES[name]()
