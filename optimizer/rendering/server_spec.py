"""ServerSpec: what a file that starts servers has to know of a plan or an estimated configuration."""

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass

from vllm_opt.optimizer.contract.answer import Estimate, Plan
from vllm_opt.profiles.catalogues.engines import ANOTHER_RELEASE
from vllm_opt.profiles.configs.model_paths import is_path, short_name
from vllm_opt.profiles.nouns.gpu import GpuProfile
from vllm_opt.profiles.printable import printable

CUDA_IMAGE, ROCM_IMAGE = "vllm/vllm-openai", "vllm/vllm-openai-rocm"
PORT = 8000
MODEL_FOLDER = "/model"
"""Where a container finds a model that is a folder of the host."""
SHARED_MEMORY_GIB_PER_GPU = 2
"""Tensor-parallel workers exchange data in /dev/shm, which containers limit to 64 MiB."""


@dataclass(frozen=True)
class ServerSpec:
    """One kind of server and how many of it."""

    command: tuple[str, ...]
    env: dict[str, str]
    replicas: int
    gpus: int
    gpu: GpuProfile
    vllm_version: str
    summary: str
    release_note: str | None = None
    """That the rules are another release's, where the asked release has no profile of its own."""

    @property
    def name(self) -> str:
        """A name that DNS accepts: the model's, in lower case, at most 50 characters."""
        model = short_name(self.command[2].rstrip("/"))
        plain = re.sub(r"[^a-z0-9]+", "-", model.lower()).strip("-")[:45].strip("-")
        return f"vllm-{plain}" if plain else "vllm"

    @property
    def local_model(self) -> str | None:
        """The folder that holds the model, when it is a path and not an id of the Hugging Face hub."""
        model = self.command[2]
        return model if is_path(model) else None

    @property
    def container_command(self) -> tuple[str, ...]:
        """The command as a container runs it: a folder of the host is mounted elsewhere."""
        if self.local_model is None:
            return self.command
        return (*self.command[:2], MODEL_FOLDER, *self.command[3:])

    @property
    def image(self) -> str:
        """The container image of this release for this vendor."""
        parts = [*self.vllm_version.split("."), "0", "0"][: max(3, self.vllm_version.count(".") + 1)]
        return f"{ROCM_IMAGE if self.gpu.vendor == 'amd' else CUDA_IMAGE}:v{'.'.join(parts)}"

    @property
    def shared_memory_gib(self) -> int:
        """Size of /dev/shm."""
        return SHARED_MEMORY_GIB_PER_GPU * self.gpus

    @property
    def nodes_per_server(self) -> int:
        """Nodes that one server spans."""
        return -(-self.gpus // self.gpu.gpus_per_node)


def to_make_first(plan: Plan) -> str:
    """Comment lines for a plan whose weights nobody has published: it starts nothing before they are made."""
    if plan.checkpoint_publisher != "hypothetical":
        return ""
    told = [note for note in plan.notes if note.startswith("make it first")]
    return "".join(f"# {printable(' '.join(note.split()))}\n" for note in told or ["make it first"])


def release_note(notes: Iterable[str]) -> str | None:
    """Return the note that says which release's rules stand for one without a profile, if there is one."""
    return next((note for note in notes if note.startswith("vLLM ") and note.endswith(ANOTHER_RELEASE)), None)


def spec_of_plan(plan: Plan, gpu: GpuProfile) -> ServerSpec:
    """Describe the servers of a plan."""
    summary = f"{plan.model} on {plan.gpu_count} x {plan.gpu}, vLLM {plan.vllm_version}"
    return ServerSpec(
        command=tuple(shlex.split(plan.command)),
        env=plan.env,
        replicas=plan.replicas,
        gpus=plan.gpu_count // plan.replicas,
        gpu=gpu,
        vllm_version=plan.vllm_version,
        summary=summary,
        release_note=release_note(plan.notes),
    )


def spec_of_estimate(estimate: Estimate, command: str, gpu: GpuProfile) -> ServerSpec:
    """Describe the servers of an estimated configuration, started by `command`."""
    asked = estimate.request
    sizes = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size")
    gpus = 1
    for size in sizes:
        gpus *= int(asked.get(size, 1))
    replicas = int(asked.get("replicas", 1))
    return ServerSpec(
        command=tuple(shlex.split(command)),
        env={},
        replicas=replicas,
        gpus=gpus,
        gpu=gpu,
        vllm_version=str(asked["vllm_version"]),
        summary=f"{asked['model']} on {gpus * replicas} x {gpu.id}, vLLM {asked['vllm_version']}",
        release_note=release_note(estimate.notes),
    )
