"""The deployment of a placement: every server on its GPUs, ready to be written as scripts and manifests."""

from vllm_opt.optimizer.deployment.assembling import assembled
from vllm_opt.optimizer.deployment.deployment import Deployment, HostSpec, Part, PlacedServer
from vllm_opt.optimizer.deployment.kinds import kind_of_plan
from vllm_opt.optimizer.placement.answer import PlacementAnswer
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.errors import InvalidRequest


def deployment_of_placement(answer: PlacementAnswer, catalog: Catalog | None = None) -> Deployment:
    """Servers, hosts and devices as they are placed; servers of one GPU have equal parts of it.

    Raises:
        InvalidRequest: nothing is placed, or a node is cut into MIG instances, which only containers can be given one
            by one.
    """
    catalog = catalog or Catalog(gpu_file=answer.request.get("gpu_file"))
    cut = next((node.name for node in answer.nodes if any(gpu.shown for gpu in node.gpus)), None)
    if cut is not None:
        raise InvalidRequest(
            f"--save-dir: node '{cut}' is cut into MIG instances; start each server in a container that sees its "
            "instance alone, as with docker run --gpus '\"device=0:1\"' (vLLM stops at a MIG UUID in "
            "CUDA_VISIBLE_DEVICES: github.com/vllm-project/vllm/issues/41848)"
        )
    hosts = [
        HostSpec(name=node.name, gpu=catalog.gpu(node.gpus[0].gpu), gpus=len(node.gpus), what="owned")
        for node in answer.nodes
    ]
    starts = {name: number for node in answer.nodes for gpu in node.gpus for number, name in enumerate(gpu.start_order)}
    servers = []
    for server in answer.servers:
        crowd = 1 + len(server.shares_with)
        kind = kind_of_plan(server.plan, catalog.gpu(server.plan.gpu), catalog, gpu_part=1 / crowd)
        parts = tuple(Part(host=part.node, devices=part.gpus) for part in server.parts)
        servers.append(
            PlacedServer(
                service=server.service, replica=server.replica, kind=kind, parts=parts,
                order=starts.get(f"{server.service}/{server.replica}", 0),
                sleeps=server.sleeps and bool(server.shares_with),
            )
        )  # fmt: skip
    return assembled("site", hosts, servers, request=answer.request, source="placement")
