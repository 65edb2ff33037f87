"""A server over several hosts as a LeaderWorkerSet: one pod a host, the leader answers.

Source: https://lws.sigs.k8s.io/docs/ (LWS_LEADER_ADDRESS, LWS_WORKER_INDEX and the label worker-index).
"""

import shlex
from typing import Any

from vllm_opt.optimizer.deployment.assembling import FIRST_MASTER_PORT, FIRST_RAY_PORT
from vllm_opt.optimizer.deployment.container import PORT, contained
from vllm_opt.optimizer.deployment.deployment import Process, Service
from vllm_opt.optimizer.deployment.launch import joins_by_ray, node_words, plain_command, ray_script, spreads_engines
from vllm_opt.optimizer.deployment.pod import kubernetes_literal, labels_of, pod

LEADER = "LWS_LEADER_ADDRESS"
INDEX = "LWS_WORKER_INDEX"


def worker_group(service: Service) -> dict[str, Any]:
    """The LeaderWorkerSet of a service; a group is made anew as a whole when one of its pods restarts."""
    labels = labels_of(service)
    return {
        "apiVersion": "leaderworkerset.x-k8s.io/v1",
        "kind": "LeaderWorkerSet",
        "metadata": {"name": service.name, "labels": labels},
        "spec": {
            "replicas": service.replicas,
            "leaderWorkerTemplate": {
                "size": service.nodes,
                "restartPolicy": "RecreateGroupOnPodRestart",
                "leaderTemplate": {"metadata": {"labels": labels}, "spec": leader_pod(service)},
                "workerTemplate": {"metadata": {"labels": labels}, "spec": worker_pod(service)},
            },
        },
    }


def leader_pod(service: Service) -> dict[str, Any]:
    """The pod of the host that answers."""
    return pod(service, script=group_script(service, worker=False))


def worker_pod(service: Service) -> dict[str, Any]:
    """The pod of every other host."""
    return pod(service, script=group_script(service, worker=True), probes=False)


def group_script(service: Service, *, worker: bool) -> str:
    """The script of a pod's shell; the group's variables are the shell's own."""
    kind, nodes = service.kind, service.nodes
    if joins_by_ray(kind, nodes):
        process = Process(
            service=service.name, replica=0, role="worker" if worker else "head", nodes=nodes, devices=(0,),
            port=None if worker else PORT, argv=(), env={}, ray_port=FIRST_RAY_PORT,
        )  # fmt: skip
        words = (*contained(kind, kind.command), "--port", str(PORT))
        return ray_script(process, words, f'"${{{LEADER}}}"', escape=kubernetes_literal)
    joined = node_words(kind, nodes, 1 if worker else 0, LEADER, FIRST_MASTER_PORT)
    listens = () if worker else ("--port", str(PORT))
    quoted = [shlex.quote(word) for word in (*contained(kind, plain_command(kind, nodes)), *listens)]
    spelled = []
    for position, word in enumerate(joined):
        before = joined[position - 1] if position else ""
        if word == LEADER:
            spelled.append(f'"${{{LEADER}}}"')
        elif worker and before == "--node-rank":
            spelled.append(f'"${{{INDEX}}}"')
        elif worker and before == "--data-parallel-start-rank" and spreads_engines(kind, nodes):
            spelled.append(f'"$(({INDEX} * {kind.engines // nodes}))"')
        else:
            spelled.append(word)
    return kubernetes_literal(" ".join(["exec", *quoted, *spelled]))
