"""One plan as a Deployment: its replicas on as few whole machines as it pays for."""

from typing import Any

from vllm_opt.optimizer.contract.answer import Answer, Cost, Estimate, Plan
from vllm_opt.optimizer.deployment.assembling import assembled, dns_label
from vllm_opt.optimizer.deployment.deployment import Deployment, HostSpec, Part, PlacedServer, ServerKind, Source
from vllm_opt.optimizer.deployment.kinds import kind_of_estimate, kind_of_plan
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.configs.model_paths import short_name
from vllm_opt.profiles.errors import InvalidRequest


def deployment_of(
    found: Plan | Answer, catalog: Catalog | None = None, *, request: dict[str, Any] | None = None
) -> Deployment:
    """The deployment of one plan, or of the plan of an answer.

    Raises:
        InvalidRequest: the answer has no plan.
        UnknownProfile: the plan's GPU is in a file of the user that is no longer read.
    """
    if isinstance(found, Answer):
        if found.plan is None:
            raise InvalidRequest("the answer has no plan to deploy; `vllm-opt explain` says what would help")
        request, found = found.request, found.plan
    catalog = catalog or Catalog(gpu_file=(request or {}).get("gpu_file"))
    kind = kind_of_plan(found, catalog.gpu(found.gpu), catalog)
    return replicated(kind, found.replicas, found.cost, request=request or {})


def deployment_of_estimate(estimate: Estimate, command: str, catalog: Catalog | None = None) -> Deployment:
    """The deployment of an estimated configuration."""
    catalog = catalog or Catalog(gpu_file=estimate.request.get("gpu_file"))
    kind = kind_of_estimate(estimate, command, catalog.gpu(str(estimate.request["gpu"])), catalog)
    replicas = int(estimate.request.get("replicas", 1) or 1)
    return replicated(kind, replicas, estimate.cost, request=estimate.request, source="estimate")


def replicated(
    kind: ServerKind, replicas: int, cost: Cost | None, *, request: dict[str, Any], source: Source = "plan"
) -> Deployment:
    """Equal servers side by side: machines as bought where there is a price, else the SKU's usual ones."""
    nodes = -(-kind.gpus // kind.gpu.gpus_per_node)
    part = kind.gpus // nodes
    pieces = replicas * nodes
    machines = cost.instances if cost is not None else -(-pieces // (kind.gpu.gpus_per_node // part))
    machines = max(nodes, min(machines, pieces))
    each = -(-pieces // machines)
    used = [0] * machines
    places: list[Part] = []
    for piece in range(pieces):
        # Ranks of one server go to different machines; single-machine servers fill one after the other.
        machine = piece % machines if nodes > 1 else piece // each
        first = used[machine] * part
        used[machine] += 1
        places.append(Part(host=f"node-{machine + 1}", devices=tuple(range(first, first + part))))
    whole = 0 if cost is None or cost.gpus_bought % machines else cost.gpus_bought // machines
    hosts = [
        HostSpec(name=f"node-{number}", gpu=kind.gpu, gpus=max(whole, taken * part), what=_what(cost))
        for number, taken in enumerate(used, 1)
        if taken
    ]
    word = service_word(kind)
    servers = [
        PlacedServer(service=word, replica=r, kind=kind, parts=tuple(places[r * nodes : (r + 1) * nodes]))
        for r in range(replicas)
    ]
    return assembled(word, hosts, servers, request=request, source=source)


def service_word(kind: ServerKind) -> str:
    """A name for the servers of a plan: the model's, in lower case."""
    plain = dns_label(short_name(kind.command[2].rstrip("/") or "model"), 45)
    return f"vllm-{plain}" if plain else "vllm"


def _what(cost: Cost | None) -> str:
    return "" if cost is None else f"{cost.instance_type} of {cost.provider}"
