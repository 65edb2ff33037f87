"""How long a start may take before it counts as failed, and how much room its weights need on a disk.

A probe that gives up too early kills a server that is still loading, for ever; one that waits too long only reports a
dead one late. So the budget is generous: weights come over a slow line once, are read from a slow disk, and kernels are
compiled and captured. These are allowances, not predictions.
"""

from vllm_opt.optimizer.deployment.deployment import Service

DOWNLOAD_BYTES_PER_S = 100_000_000
"""A line of about 1 Gbit/s."""
READ_BYTES_PER_S = 500_000_000
"""A network disk."""
COMPILE_S = 600
"""Compilation, warm-up and CUDA graphs."""
GIB = 1 << 30
DISK_RESERVE_GIB = 10
PROBE_PERIOD_S = 10


def start_seconds(service: Service) -> int:
    """weights / line + weights / disk + compilation; twice for each server that starts before it on a shared GPU."""
    weights = service.kind.weights_bytes
    seconds = COMPILE_S - (-weights // DOWNLOAD_BYTES_PER_S) - (-weights // READ_BYTES_PER_S)
    return seconds * max(1, round(1 / service.kind.gpu_part))


def probe_failures(service: Service) -> int:
    """Failed probes that a start may take, one every ten seconds."""
    return -(-start_seconds(service) // PROBE_PERIOD_S)


def disk_gib(service: Service) -> int:
    """Room for the weights and a quarter of them for what is half downloaded, rounded up."""
    return -(-service.kind.weights_bytes * 5 // 4 // GIB) + DISK_RESERVE_GIB
