"""expected.json: what the plan predicts, beside the configurations, so that a new price rewrites none of them.

    { "schema": "vllm-opt/expected/1", "name", "source": "plan|fleet|placement|estimate", "request": {…as answered…},
      "services": [ { "name", "workload", "replicas", "nodes", "gpu", "gpus", "gpu_part", "vllm_version",
                      "command": "vllm serve …", "endpoints": [ { "host", "port" } ], "plan": {…a plan…},
                      "request": {…its workload, where the request has several…} } ],
      "hosts": [ { "name", "address", "gpu", "gpus", "what",
                   "processes": [ { "service", "replica", "role", "devices", "port" } ] } ],
      "routers": [ { "name", "port", "endpoints": [ "node-1:8000" ] } ] }

`plan` holds memory, performance at the load asked and in full, cost and the flags; it is null for an estimate.
"""

import json
import shlex
from typing import Any

from vllm_opt.optimizer.deployment.deployment import Deployment, Service

SCHEMA = "vllm-opt/expected/1"
FILE = "expected.json"


def expected_document(deployment: Deployment) -> dict[str, Any]:
    """The document."""
    return {
        "schema": SCHEMA,
        "name": deployment.name,
        "source": deployment.source,
        "request": deployment.request,
        "services": [_service(deployment, service) for service in deployment.services],
        "hosts": [
            {
                "name": host.name, "address": host.address, "gpu": host.gpu.id, "gpus": host.gpus, "what": host.what,
                "processes": [
                    {"service": each.service, "replica": each.replica, "role": each.role,
                     "devices": list(each.devices), "port": each.port}
                    for each in host.processes
                ],
            }
            for host in deployment.hosts
        ],
        "routers": [
            {"name": router.name, "port": router.port,
             "endpoints": [f"{each.host}:{each.port}" for each in router.endpoints]}
            for router in deployment.routers
        ],
    }  # fmt: skip


def expected_text(deployment: Deployment) -> str:
    """The document as indented JSON."""
    return json.dumps(expected_document(deployment), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _service(deployment: Deployment, service: Service) -> dict[str, Any]:
    kind = service.kind
    plan = None if kind.plan is None else kind.plan.model_dump(mode="json", exclude={"equations"})
    return {
        "name": service.name, "workload": service.workload, "lengths": service.lengths, "replicas": service.replicas,
        "nodes": service.nodes, "gpu": kind.gpu.id, "gpus": kind.gpus, "gpu_part": kind.gpu_part,
        "vllm_version": kind.vllm_version, "command": shlex.join(kind.command),
        "endpoints": [
            {"host": host.name, "port": process.port}
            for host, process in deployment.processes_of(service.name)
            if process.port is not None
        ],
        "request": _workload(deployment.request, service.workload), "plan": plan,
    }  # fmt: skip


def _workload(request: dict[str, Any], name: str) -> dict[str, Any]:
    """What was asked of one service: its workload of a demand; empty where the request as a whole is meant."""
    rows = request.get("workloads") or ()
    return next((dict(row) for row in rows if isinstance(row, dict) and row.get("name") == name), {})
