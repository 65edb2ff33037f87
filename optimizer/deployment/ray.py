"""A container that joins a Ray cluster first, for releases without `--nnodes`."""

import shlex
from collections.abc import Callable

from vllm_opt.optimizer.deployment.deployment import Process


def ray_script(process: Process, words: tuple[str, ...], master: str, *, escape: Callable[[str], str]) -> str:
    """The script of a container's shell: `master` is the head's address, spelled for the file that holds it.

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
