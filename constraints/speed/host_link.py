"""Loading cached prefixes from host memory, instead of computing them.

    seconds = tokens * KV bytes per token of one rank / (link * share)

Every rank loads its own part over its own link. The link is nominal, by SKU (`profiles/data/gpus.json`); the share that
copies reach is assumed: vLLM moves whole blocks of 0.5 to 2 MB with the copy engines since 0.12
(blog.vllm.ai/2026/01/08/kv-offloading-connector.html).
"""

from vllm_opt.profiles.nouns.gpu import GpuProfile

LINK_SHARE = 0.8


def link_bytes_per_s(gpu: GpuProfile) -> float | None:
    """What copies from host memory reach; None where the link is not known."""
    nominal = gpu.host_link_bytes_per_s
    return None if nominal is None else nominal * LINK_SHARE


def load_seconds(gpu: GpuProfile, tokens: float, kv_bytes_per_token: int) -> float | None:
    """Seconds until the caches of `tokens` tokens are on every rank; None where the link is not known."""
    rate = link_bytes_per_s(gpu)
    return None if rate is None else tokens * kv_bytes_per_token / rate
