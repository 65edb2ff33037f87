"""Container images that hold vLLM: what their name says of the release and of the hardware."""

import re

from vllm_opt.optimizer.serve_lines.words import Word

_IMAGE = re.compile(
    r"(?P<name>(?:[\w.-]+(?::\d+)?/)*[\w.-]*vllm[\w.-]*(?:/[\w.-]+)*)(?::(?P<tag>[\w.-]*))?(?:@sha256:[0-9a-f]+)?"
)
_TAG = re.compile(r"(?:[a-z]+[-_])*v?(\d{1,4}\.\d{1,4}(?:\.\d{1,4})?)(?:[-_.+].*)?")
_NUMBERED_OTHERWISE = ("lmcache",)
"""Images with vLLM in them whose tags count the releases of something else."""
_INSIDE = re.compile(r"(?:^|[-_])v?(\d{1,4}\.\d{1,4}\.\d{1,4})(?:$|[-_.+])")
_OFFICIAL = re.compile(r"(?:docker\.io/|index\.docker\.io/|registry-1\.docker\.io/)?vllm/vllm-openai(?:-rocm)?")
_HARDWARE = (
    ("cpu", re.compile(r"(?:^|[-_./:])cpu(?:$|[-_./:])")),
    ("xpu", re.compile(r"(?:^|[-_./:])xpu(?:$|[-_./:])|ipex|llm-scaler")),
    ("tpu", re.compile(r"(?:^|[-_./:])tpu(?:$|[-_./:])")),
    ("gaudi", re.compile(r"(?:^|[-_./:])(?:hpu|gaudi\w*)(?:$|[-_./:])")),
    ("neuron", re.compile(r"neuron")),
    ("ascend", re.compile(r"ascend")),
    ("rocm", re.compile(r"rocm")),
)
NOT_JUDGED = ("cpu", "xpu", "tpu", "gaudi", "neuron", "ascend")
"""Hardware whose memory and flags are not what this catalogue describes."""
OTHER_SCHEMES = re.compile(r"^\d{2}\.\d{2}$")
"""Tags such as 26.05 (NVIDIA's container of May 2026) are dates, not releases of vLLM."""
VLLM_ONLY = frozenset(
    ("tensor-parallel-size", "gpu-memory-utilization", "max-model-len", "max-num-seqs", "max-num-batched-tokens",
     "pipeline-parallel-size", "enforce-eager", "enable-prefix-caching", "kv-cache-dtype", "served-model-name")
)  # fmt: skip
"""Flags that tell vLLM's arguments from those of another server."""


def is_vllm_image(image: str) -> bool:
    """Whether a container image's name says that it holds vLLM."""
    match = _IMAGE.fullmatch(image.strip().partition("$")[0].rstrip(":@"))
    return match is not None and ("/" in image or ":" in image)


def image_version(image: str) -> str | None:
    """Return the release in the tag of a vLLM image: 'vllm/vllm-openai:v0.11.0' -> '0.11.0'; None for 'latest'."""
    match = _IMAGE.fullmatch(image.strip())
    tag = (match.group("tag") or "") if match else ""
    found = _TAG.fullmatch(tag) or _INSIDE.search(tag)
    if found is None or OTHER_SCHEMES.fullmatch(found.group(1)) or any(name in image for name in _NUMBERED_OTHERWISE):
        return None
    return found.group(1)


def is_unversioned(image: str) -> bool:
    """Whether the image is a build whose release its name does not say, such as a nightly one or a digest."""
    text = image.strip()
    tag = text.rpartition("/")[2].partition(":")[2]
    return ("@sha256:" in text or tag not in ("", "latest")) and image_version(text) is None


def starts_vllm_itself(image: str) -> bool:
    """Whether the image's own entry point is the server, so that its arguments are flags and a model only.

    Source: vLLM's `docker/Dockerfile`, stage vllm-openai: ENTRYPOINT ["vllm", "serve"], before that
    ["python3", "-m", "vllm.entrypoints.openai.api_server"]. Other builds have entry points of their own.
    """
    match = _IMAGE.fullmatch(image.strip().partition("$")[0].rstrip(":@"))
    return match is not None and _OFFICIAL.fullmatch(match.group("name")) is not None


def image_hardware(image: str) -> str | None:
    """What the image's name says that it runs on; None where it does not say."""
    lowered = image.lower()
    return next((name for name, pattern in _HARDWARE if pattern.search(lowered)), None)


def looks_like_vllm(words: list[Word]) -> bool:
    """Whether arguments of an image with a name of its own can only be vLLM's: a model, and a flag that is vLLM's."""
    names = {word.text.partition("=")[0].lstrip("-").replace("_", "-") for word in words if word.text.startswith("--")}
    return "model" in names and bool(names & VLLM_ONLY)
