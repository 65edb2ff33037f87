"""The words with which each host starts its process: port, and what joins the processes of one server.

Sources: vLLM's documentation, "Parallelism and scaling" (`--nnodes --node-rank --master-addr --headless` from 0.12 on,
a Ray cluster before) and "Data parallel deployment" (`--data-parallel-size-local --data-parallel-start-rank
--data-parallel-address --data-parallel-rpc-port --headless`), https://docs.vllm.ai/en/latest/serving/.
"""

import shlex
from collections.abc import Callable

from vllm_opt.optimizer.deployment.deployment import Process, ServerKind
from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.reading.quantities import counted

NODE_FLAGS = frozenset((
    "nnodes", "node-rank", "master-addr", "master-port", "headless", "data-parallel-size-local",
    "data-parallel-start-rank", "data-parallel-address", "data-parallel-rpc-port",
))  # fmt: skip
"""Flags that join the processes of one server over several hosts."""
VISIBLE_DEVICES = {"nvidia": "CUDA_VISIBLE_DEVICES", "amd": "HIP_VISIBLE_DEVICES", "intel": "ZE_AFFINITY_MASK"}
"""Vendor -> the variable that limits a process to some devices; vLLM on ROCm takes HIP's as CUDA's."""


def joins_by_ray(kind: ServerKind, nodes: int) -> bool:
    """Whether hosts form a Ray cluster first: releases without --nnodes, except where engines stay on their host."""
    return nodes > 1 and not spreads_engines(kind, nodes) and "nnodes" not in kind.flags_known


def spreads_engines(kind: ServerKind, nodes: int) -> bool:
    """Whether a server over several hosts is one of whole engines on each."""
    return nodes > 1 and kind.engines % nodes == 0 and kind.engines > 1


def check_spread(kind: ServerKind, devices: tuple[int, ...], service: str) -> None:
    """Refuse what no release can start: unequal parts, or engines over hosts beside other engines.

    Raises:
        InvalidRequest: says which server.
    """
    nodes = len(devices)
    if len(set(devices)) != 1 or sum(devices) != kind.gpus:
        raise InvalidRequest(
            f"a server of '{service}' has {counted(kind.gpus, 'GPU')} and stands on {', '.join(map(str, devices))}: "
            "vLLM needs equal parts that add up"
        )
    if nodes > 1 and kind.engines > 1 and not spreads_engines(kind, nodes):
        raise InvalidRequest(
            f"a server of '{service}' spreads {counted(kind.engines, 'engine')} over {counted(nodes, 'host')}; vLLM "
            "starts whole engines on each host: use --data-parallel-size 1 or a multiple of the hosts"
        )


def plain_command(kind: ServerKind, nodes: int) -> tuple[str, ...]:
    """The plan's words less the executor, where this release joins hosts without Ray."""
    if nodes == 1 or joins_by_ray(kind, nodes):
        return kind.command
    words, kept = iter(kind.command), []
    for word in words:
        if word == "--distributed-executor-backend":
            next(words, None)
        elif not word.startswith("--distributed-executor-backend="):
            kept.append(word)
    return tuple(kept)


def node_words(kind: ServerKind, nodes: int, rank: int, master: str, port: int) -> tuple[str, ...]:
    """The flags that join one host to the others; empty on one host, and on Ray, which joins them itself."""
    if nodes == 1 or joins_by_ray(kind, nodes):
        return ()
    worker = ("--headless",) if rank else ()
    if spreads_engines(kind, nodes):
        local = kind.engines // nodes
        start = ("--data-parallel-start-rank", str(rank * local)) if rank else ()
        address = ("--data-parallel-address", master, "--data-parallel-rpc-port", str(port))
        return ("--data-parallel-size-local", str(local), *start, *address, *worker)
    place = ("--nnodes", str(nodes), "--node-rank", str(rank), "--master-addr", master, "--master-port", str(port))
    return (*place, *worker)


def address_variable(host: str) -> str:
    """The shell variable that holds the address of a host: node-1 -> NODE_1_ADDRESS."""
    return f"{host.upper().replace('-', '_')}_ADDRESS"


def ray_script(process: Process, words: tuple[str, ...], master: str, *, escape: Callable[[str], str]) -> str:
    """The script of a container that joins a Ray cluster first; `master` is the head's address as the file spells it.

    `escape` keeps what the file format would read itself from being read.
    """
    if process.role == "worker":
        return f"exec ray start --address={master}:{process.ray_port} --block"
    joined = (
        f'import ray; ray.init(address="127.0.0.1:{process.ray_port}", logging_level="ERROR"); '
        f'raise SystemExit(sum(node["Alive"] for node in ray.nodes()) < {process.nodes})'
    )
    steps = (
        f"ray start --head --port={process.ray_port}",
        f"until python3 -c {shlex.quote(joined)}; do sleep 5; done",
        f"RAY_ADDRESS=127.0.0.1:{process.ray_port} exec {shlex.join(words)}",
    )
    return escape(" && ".join(steps[:1]) + "; " + "; ".join(steps[1:]))
