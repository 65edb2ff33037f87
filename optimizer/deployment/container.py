"""What a container of one kind of server needs: image, words, environment, folders, shared memory, host memory."""

import re
from itertools import pairwise

from vllm_opt.optimizer.deployment.deployment import ServerKind, Service
from vllm_opt.profiles.configs.model_paths import is_path

CUDA_IMAGE, ROCM_IMAGE = "vllm/vllm-openai", "vllm/vllm-openai-rocm"
PORT = 8000
"""Where a server listens inside a container of its own."""
MODEL_FOLDER = "/model"
"""Where a container finds a model that is a folder of the host."""
CACHE_FOLDER = "/root/.cache/huggingface"
SHARED_MEMORY_GIB_PER_GPU = 2
"""Tensor-parallel workers exchange data in /dev/shm, which containers limit to 64 MiB."""
CORES_BESIDE_GPUS = 2
"""API server and engine core; each GPU's worker takes one more (vLLM documentation, "Optimization and tuning")."""
HOST_GIB, HOST_GIB_PER_GPU = 8, 4
"""Host memory asked for one server: processes and staging buffers; tiers in host memory come on top."""
_OFFLOAD_FLAGS = ("--kv-offloading-size", "--cpu-offload-gb")


def image(kind: ServerKind) -> str:
    """The container image of this release for this vendor."""
    return f"{ROCM_IMAGE if kind.gpu.vendor == 'amd' else CUDA_IMAGE}:v{kind.image_version}"


def local_model(kind: ServerKind) -> str | None:
    """The folder that holds the model, when it is a path and not an id of the Hugging Face hub."""
    model = kind.command[2]
    return model if is_path(model) else None


def contained(kind: ServerKind, words: tuple[str, ...]) -> tuple[str, ...]:
    """The words as a container runs them: a folder of the host is mounted elsewhere."""
    if local_model(kind) is None or not words:
        return words
    return (*words[:2], MODEL_FOLDER, *words[3:])


def gpus_here(service: Service) -> int:
    """GPUs of one server on one host."""
    return service.kind.gpus // service.nodes


def shared_memory_gib(service: Service) -> int:
    """Size of /dev/shm of one process."""
    return SHARED_MEMORY_GIB_PER_GPU * gpus_here(service)


def cores(service: Service) -> int:
    """CPU cores to ask for one process."""
    return CORES_BESIDE_GPUS + gpus_here(service)


def host_memory_gib(service: Service) -> int:
    """Host memory to ask for one process: /dev/shm counts against it, and so does every tier in host memory."""
    command = service.kind.command
    tiers = 0.0
    for flag, value in pairwise(command):
        if flag in _OFFLOAD_FLAGS and re.fullmatch(r"\d+(\.\d+)?", value):
            tiers += float(value)
        elif flag == "--swap-space" and re.fullmatch(r"\d+(\.\d+)?", value):
            tiers += float(value) * gpus_here(service)
    return HOST_GIB + HOST_GIB_PER_GPU * gpus_here(service) + shared_memory_gib(service) + -int(-tiers // 1)


def product_label(kind: ServerKind) -> tuple[str, str]:
    """The node label that names the GPU, and its value: the device's own name, blanks as dashes.

    NVIDIA: `nvidia.com/gpu.product` of GPU Feature Discovery; AMD: `amd.com/gpu.product-name` of its node labeller.
    """
    gpu = kind.gpu
    name = gpu.vllm_device_names[0] if gpu.vllm_device_names else re.sub(r"\s*\(.*\)", "", gpu.name)
    if gpu.vendor == "amd":
        return "amd.com/gpu.product-name", re.sub(r"[^A-Za-z0-9.-]+", "_", name).strip("_")
    return "nvidia.com/gpu.product", re.sub(r"[^A-Za-z0-9._]+", "-", name).strip("-")


def product_is_known(kind: ServerKind) -> bool:
    """Whether the device's name was seen in a log; otherwise the label is the vendor's name and may differ."""
    return bool(kind.gpu.vllm_device_names)
