"""A deployment in one text, for `--format compose|kubernetes|env|command`, by the writers of the folder."""

import shlex

from vllm_opt.optimizer.deployment.compose import compose_document, compose_text
from vllm_opt.optimizer.deployment.container import image
from vllm_opt.optimizer.deployment.deployment import Deployment, Host, Process
from vllm_opt.optimizer.deployment.kubernetes import kubernetes_files
from vllm_opt.optimizer.deployment.yaml_text import comment_lines
from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.reading.quantities import counted

OWN_FILES = "--save-dir DIR writes a file for each host"


def compose_file(deployment: Deployment) -> str:
    """The compose file of the first host, which the others take too; the comments say where they run less.

    Raises:
        InvalidRequest: one server spans several hosts, or the hosts differ.
    """
    hosts = [host for host in deployment.hosts if host.processes]
    _check_alone(deployment, "compose")
    first, *others = hosts
    head = ""
    if others:
        here = list(compose_document(deployment, first)["services"])
        kept = [_same_services(deployment, first, host) for host in others]
        if None in kept:
            raise InvalidRequest(f"the hosts of this plan run different servers; {OWN_FILES}")
        fewer = [(host.name, len(names)) for host, names in zip(others, kept, strict=True)
                 if names is not None and len(names) < len(here)]  # fmt: skip
        servers = sum(len(host.processes) for host in hosts)
        head = comment_lines([
            f"{counted(servers, 'server')} need {counted(len(hosts), 'host')}: start this file, "
            f"{counted(len(here), 'server')}, on each of them;",
            *(f"on {name} only {number}: docker compose up {' '.join(here[:number])}" for name, number in fewer),
        ])  # fmt: skip
    return head + compose_text(deployment, first)


def _same_services(deployment: Deployment, first: Host, host: Host) -> list[str] | None:
    """The services of the first file that this host runs; None when it runs others."""
    here = [(each.service, each.devices, each.port) for each in first.processes]
    there = [(each.service, each.devices, each.port) for each in host.processes]
    return list(compose_document(deployment, host)["services"]) if there == here[: len(there)] else None


def kubernetes_manifests(deployment: Deployment) -> str:
    """Every manifest of the folder but those that need further operators, as one file."""
    files = kubernetes_files(deployment)
    return "---\n".join(text for path, text in files.items() if not path.startswith("kubernetes/optional/"))


def env_file(deployment: Deployment) -> str:
    """Shell assignments of the one kind of server: what vLLM itself reads first, then what starts it.

    Names of our own do not begin with VLLM_, because vLLM warns about such variables when it does not know them.

    Raises:
        InvalidRequest: there are several kinds of server.
    """
    if len(deployment.services) > 1:
        raise InvalidRequest(f"--format env holds one kind of server; {OWN_FILES}")
    service = deployment.services[0]
    own = {
        "IMAGE": image(service.kind),
        "MODEL": service.kind.command[2],
        "REPLICAS": str(service.replicas),
        "GPUS_PER_REPLICA": str(service.kind.gpus),
        "SERVE_ARGS": shlex.join(service.kind.command[3:]),
    }
    values = {**service.kind.env, **own}
    return comment_lines(service.kind.comments) + "\n".join(f"{n}={shlex.quote(v)}" for n, v in values.items())


def command_lines(deployment: Deployment) -> str:
    """One line a server; several servers, or hosts, name their host, devices and ports."""
    comments = dict.fromkeys(line for service in deployment.services for line in service.kind.comments)
    found = [(host, each) for host in deployment.hosts for each in host.processes]
    if len(found) == 1:
        kind = deployment.services[0].kind
        assignments = [f"{name}={shlex.quote(value)}" for name, value in kind.env.items()]
        return comment_lines(comments) + " ".join([*assignments, shlex.join(kind.command)])
    lines = [comment_lines(comments).rstrip("\n")] if comments else []
    for host, process in found:
        master = deployment.address_of(process.master or host.name)
        lines += [comment_lines([_title(host, process)]).rstrip("\n"), _line(process, master)]
    return "\n".join(lines)


def _title(host: Host, process: Process) -> str:
    role = f" ({process.role}, host {process.node_rank + 1} of {process.nodes})" if process.nodes > 1 else ""
    return f"{process.service} {process.replica} on {host.name}{role}"


def _line(process: Process, master: str) -> str:
    assignments = " ".join(f"{name}={shlex.quote(value)}" for name, value in process.env.items())
    if process.ray_port is None:
        return f"{assignments} {shlex.join(process.argv)}"
    if process.role == "worker":
        return f"{assignments} ray start --address={master}:{process.ray_port} --block"
    start = f"{assignments} ray start --head --port={process.ray_port}"
    return f"{start}\nRAY_ADDRESS=127.0.0.1:{process.ray_port} {shlex.join(process.argv)}"


def _check_alone(deployment: Deployment, format_name: str) -> None:
    spread = next((service for service in deployment.services if service.nodes > 1), None)
    if spread is not None:
        raise InvalidRequest(
            f"one server of this plan spans {counted(spread.nodes, 'node')}, which one file of --format {format_name} "
            f"cannot start; {OWN_FILES}"
        )
