"""What may stand on one GPU together: memory to the byte, who is awake at once, and an order in which all can start.

vLLM 0.33 (`v1/worker/gpu_worker.py`, `v1/worker/utils.py`): a server asks for gpu_memory_utilization x total when it
starts and refuses when less is free; its CUDA context and NCCL buffers stand outside that budget. A second server on
the card therefore needs its own budget and its own context beside everything that the first one holds. Servers start
one after another, because a start measures the memory that is free while it runs.

A service that may be cold sleeps (`--enable-sleep-mode`, level 1: weights go to host memory, the KV cache is dropped):
of the sleepers on one GPU at most one is awake, so each needs room beside the servers that never sleep and what the
other sleepers keep. Two sleepers of one service on one GPU would never both be awake, so they are refused.
"""

from collections.abc import Sequence

from vllm_opt.constraints.placing.site import ServerColumn

MOST_ON_GPU = 4
"""servers on one GPU at most, sleepers included: each is a process with a context, a port and a wake-up of its own"""


def awake_together(servers: Sequence[ServerColumn]) -> int:
    """Servers that compute at once at most: all that never sleep, and one sleeper."""
    sleepers = sum(server.asleep_bytes is not None for server in servers)
    return len(servers) - sleepers + min(1, sleepers)


def bytes_together(servers: Sequence[ServerColumn]) -> int:
    """The most that all of them hold at one moment, whichever sleeper is awake."""
    always = sum(server.bytes_per_gpu for server in servers if server.asleep_bytes is None)
    sleepers = [(server.bytes_per_gpu, server.asleep_bytes) for server in servers if server.asleep_bytes is not None]
    asleep = sum(rest for _, rest in sleepers)
    return always + asleep + max((awake - rest for awake, rest in sleepers), default=0)


def start_order(servers: Sequence[ServerColumn]) -> tuple[int, ...]:
    """Positions in the order of starting that needs the least memory: largest passing need first.

    A start takes max(load peak, bytes) and leaves what the server holds afterwards; of all orders the one by descending
    difference of the two has the lowest peak (exchange argument).
    """

    def passing(position: int) -> int:
        return start_peak(servers[position]) - settled_bytes(servers[position])

    return tuple(sorted(range(len(servers)), key=lambda position: (-passing(position), position)))


def start_peak(server: ServerColumn) -> int:
    """The most that a server takes on its GPU while it starts."""
    return max(server.bytes_per_gpu, server.load_peak_bytes)


def settled_bytes(server: ServerColumn) -> int:
    """What a server holds once it has started, and gone to sleep where it may."""
    return server.bytes_per_gpu if server.asleep_bytes is None else server.asleep_bytes


def starting_bytes(servers: Sequence[ServerColumn]) -> int:
    """The most that is taken while all of them start one after another, in `start_order`."""
    held = peak = 0
    for position in start_order(servers):
        peak = max(peak, held + start_peak(servers[position]))
        held += settled_bytes(servers[position])
    return peak


def fits_gpu(servers: Sequence[ServerColumn], gpu_bytes: int) -> bool:
    """Say whether one GPU of `gpu_bytes` holds these servers, each within what its capacity was computed for."""
    awake = awake_together(servers)
    sleepers = [server.service for server in servers if server.asleep_bytes is not None]
    return (
        len(servers) <= MOST_ON_GPU
        and len(set(sleepers)) == len(sleepers)
        and all(awake <= server.most_on_gpu for server in servers)
        and (len(servers) <= 1 or all(server.shared for server in servers))
        and bytes_together(servers) <= gpu_bytes
        and starting_bytes(servers) <= gpu_bytes
    )
