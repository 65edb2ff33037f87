"""A plan as environment variables, for scripts and templates: `set -a; . ./plan.env`."""

import shlex

from vllm_opt.optimizer.rendering.server_spec import ServerSpec
from vllm_opt.profiles.printable import printable


def env_file(spec: ServerSpec) -> str:
    """Return shell assignments: what vLLM itself reads first, then what starts it.

    Names of our own do not begin with VLLM_, because vLLM warns about such variables when it does not know them.
    """
    own = {
        "IMAGE": spec.image,
        "MODEL": spec.command[2],
        "REPLICAS": str(spec.replicas),
        "GPUS_PER_REPLICA": str(spec.gpus),
        "SERVE_ARGS": shlex.join(spec.command[3:]),
    }
    head = [f"# {printable(spec.release_note)}"] if spec.release_note else []
    return "\n".join([*head, *(f"{name}={shlex.quote(value)}" for name, value in {**spec.env, **own}.items())])
