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
        InvalidRequest: nothing is placed, or a node is cut into MIG instances, which are started by a UUID that no site
            file knows.
    """
    catalog = catalog or Catalog(gpu_file=answer.request.get("gpu_file"))
    cut = next((node.name for node in answer.nodes if any(gpu.shown for gpu in node.gpus)), None)
    if cut is not None:
        raise InvalidRequest(
            f"--save-dir: node '{cut}' is cut into MIG instances; start them by the UUIDs of nvidia-smi -L"
        )
    hosts = [
        HostSpec(name=node.name, gpu=catalog.gpu(node.gpus[0].gpu), gpus=len(node.gpus), what="owned")
        for node in answer.nodes
    ]
    servers = []
    for server in answer.servers:
        crowd = 1 + len(server.shares_with)
        kind = kind_of_plan(server.plan, catalog.gpu(server.plan.gpu), catalog, gpu_part=1 / crowd)
        parts = tuple(Part(host=part.node, devices=part.gpus) for part in server.parts)
        servers.append(PlacedServer(service=server.service, replica=server.replica, kind=kind, parts=parts))
    return assembled("site", hosts, servers, request=answer.request, source="placement")
