"""Placed servers become a Deployment: names, roles, ports, devices and words, checked for what cannot be."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from vllm_opt.optimizer.deployment.deployment import (
    Deployment,
    Endpoint,
    Host,
    HostSpec,
    PlacedServer,
    Process,
    Router,
    ServerKind,
    Service,
    Source,
)
from vllm_opt.optimizer.deployment.launch import (
    VISIBLE_DEVICES,
    check_spread,
    joins_by_ray,
    node_words,
    plain_command,
)
from vllm_opt.profiles.errors import InvalidRequest

FIRST_PORT = 8000
"""vLLM's default; every further server of a host takes the next one."""
FIRST_ROUTER_PORT = 9000
FIRST_MASTER_PORT = 29501
"""vLLM's default --master-port; servers that share hosts take the next ones."""
FIRST_RAY_PORT = 6379
LONGEST_NAME = 50
_SLACK = 1e-9
_ADDRESS = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")


def assembled(
    name: str, hosts: Sequence[HostSpec], servers: Sequence[PlacedServer], *, request: dict[str, Any] | None = None,
    source: Source = "plan",
) -> Deployment:  # fmt: skip
    """Give every placed server its name, role, port and words.

    Raises:
        InvalidRequest: a host is missing or named twice, a device does not exist or holds more than one GPU's worth of
            servers, or a server is spread in a way that vLLM cannot start.
    """
    plain = {host.name: label for host, label in zip(hosts, _labels([host.name for host in hosts]), strict=True)}
    _check_places(hosts, servers)
    names = _service_names(servers)
    order = {host.name: position for position, host in enumerate(hosts)}
    work = _Assembly(plain, _numbers(servers))
    for position, server in sorted(enumerate(servers), key=lambda pair: _place_order(pair[1], order)):
        work.take(position, server, names[_kind_key(server)])
    services = _services(servers, names)
    built = tuple(
        Host(
            name=plain[host.name], address=work.addresses[plain[host.name]], gpu=host.gpu, gpus=host.gpus,
            what=host.what,
            processes=tuple(sorted(work.processes[plain[host.name]], key=_process_order)),
        )
        for host in hosts
    )  # fmt: skip
    return Deployment(
        name=dns_label(name) or "deployment", source=source, request=request or {}, services=services, hosts=built,
        routers=_routers(services, built),
    )  # fmt: skip


def dns_label(text: str, longest: int = LONGEST_NAME) -> str:
    """The text as a DNS label: lower-case letters, digits and dashes; empty when nothing is left."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:longest].strip("-")


class _Assembly:
    """The state of one pass over all servers."""

    def __init__(self, labels: dict[str, str], numbers: dict[int, int]) -> None:
        self.labels, self.numbers = labels, numbers
        named = labels.items()
        self.addresses = {label: name if _ADDRESS.fullmatch(name) else label for name, label in named}
        self.processes: dict[str, list[Process]] = {label: [] for label in labels.values()}
        self.ports: Counter[str] = Counter()
        self.joined = 0

    def take(self, position: int, server: PlacedServer, service: str) -> None:
        """Add the processes of one server."""
        kind, nodes = server.kind, len(server.parts)
        check_spread(kind, tuple(len(part.devices) for part in server.parts), server.service)
        head = self.labels[server.parts[0].host]
        port, ray = FIRST_PORT + self.ports[head], joins_by_ray(kind, nodes)
        self.ports[head] += 1
        replica = self.numbers[position]
        command = plain_command(kind, nodes)
        for rank, part in enumerate(server.parts):
            words = node_words(kind, nodes, rank, self.addresses[head], FIRST_MASTER_PORT + self.joined)
            listens = ("--port", str(port)) if rank == 0 else ()
            self.processes[self.labels[part.host]].append(
                Process(
                    service=service, replica=replica, role="alone" if nodes == 1 else "worker" if rank else "head",
                    node_rank=rank, nodes=nodes, devices=tuple(sorted(part.devices)), port=None if rank else port,
                    master=head if nodes > 1 else None,
                    master_port=FIRST_MASTER_PORT + self.joined if nodes > 1 and not ray else None,
                    ray_port=FIRST_RAY_PORT + self.joined if ray else None,
                    argv=() if ray and rank else (*command, *listens, *words),
                    env={**kind.env, VISIBLE_DEVICES[kind.gpu.vendor]: ",".join(map(str, sorted(part.devices)))},
                    gpu_part=kind.gpu_part, gpu_memory_utilization=kind.gpu_memory_utilization,
                    order=server.order, sleeps=server.sleeps,
                )
            )  # fmt: skip
        self.joined += nodes > 1


def _place_order(server: PlacedServer, order: dict[str, int]) -> tuple[int, tuple[int, ...], int, str, int]:
    """Ports count up from host to host and from device to device, on one in the order of starting."""
    first = server.parts[0]
    return (order[first.host], tuple(sorted(first.devices)), server.order, server.service, server.replica)


def _numbers(servers: Sequence[PlacedServer]) -> dict[int, int]:
    """Position of a server -> its number among the servers of its kind, from 0 without gaps, in the order given."""
    taken: Counter[tuple[Any, ...]] = Counter()
    found: dict[int, int] = {}
    for position, server in sorted(enumerate(servers), key=lambda pair: pair[1].replica):
        found[position] = taken[_kind_key(server)]
        taken[_kind_key(server)] += 1
    return found


def _process_order(process: Process) -> tuple[int, tuple[int, ...], int, str, int]:
    return (process.devices[0], process.devices, process.order, process.service, process.replica)


def _labels(names: Sequence[str]) -> list[str]:
    """A DNS label for each host, different ones for different names.

    Raises:
        InvalidRequest: two hosts have one name.
    """
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InvalidRequest(f"two hosts are called '{twice[0]}'; give each a name of its own")
    plain = [dns_label(name) or "host" for name in names]
    return _unique([name if name[0].isalpha() else f"host-{name}"[:LONGEST_NAME].strip("-") for name in plain])


def _unique(wanted: Sequence[str]) -> list[str]:
    taken: set[str] = set()
    found = []
    for text in wanted:
        label, number = text, 2
        while label in taken:
            label, number = f"{text[: LONGEST_NAME - 1 - len(str(number))]}-{number}", number + 1
        taken.add(label)
        found.append(label)
    return found


def _kind_key(server: PlacedServer) -> tuple[Any, ...]:
    kind = server.kind
    return (
        server.service, server.lengths, kind.command, tuple(sorted(kind.env.items())), kind.gpu.id, kind.gpus,
        kind.gpu_part, kind.vllm_version, len(server.parts),
    )  # fmt: skip


def _service_names(servers: Sequence[PlacedServer]) -> dict[tuple[Any, ...], str]:
    """One name per kind of server: the user's word, with the SKU where a word stands for several kinds."""
    keys = list(dict.fromkeys(_kind_key(server) for server in servers))
    first = {_kind_key(server): server for server in reversed(servers)}
    words = Counter(key[0] for key in keys)
    wanted = []
    for key in keys:
        base = dns_label(key[0]) or "vllm"
        several = words[key[0]] > 1
        sku = dns_label(first[key].kind.gpu.id)
        wanted.append(f"{base[: LONGEST_NAME - 1 - len(sku)]}-{sku}" if several else base)
    return dict(zip(keys, _unique([name if name[0].isalpha() else f"s-{name}"[:LONGEST_NAME] for name in wanted]),
                    strict=True))  # fmt: skip


def _services(servers: Sequence[PlacedServer], names: dict[tuple[Any, ...], str]) -> tuple[Service, ...]:
    counts = Counter(_kind_key(server) for server in servers)
    first: dict[tuple[Any, ...], PlacedServer] = {}
    for server in servers:
        first.setdefault(_kind_key(server), server)
    return tuple(
        Service(
            name=name, workload=first[key].service, kind=first[key].kind, replicas=counts[key],
            nodes=len(first[key].parts), lengths=first[key].lengths,
        )
        for key, name in names.items()
    )  # fmt: skip


def _routers(services: Sequence[Service], hosts: Sequence[Host]) -> tuple[Router, ...]:
    """One router for all servers of a workload that answer the same model name and the same lengths."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for service in services:
        key = (service.workload, service.kind.command[2], service.lengths)
        groups.setdefault(key, []).append(service.name)
    found: list[Router] = []
    for members in groups.values():
        endpoints = [
            Endpoint(service=each.service, replica=each.replica, host=host.name, port=each.port)
            for host in hosts
            for each in host.processes
            if each.service in members and each.port is not None
        ]
        if len(endpoints) > 1:
            port = FIRST_ROUTER_PORT + len(found)
            found.append(Router(name=f"{members[0]}-router", port=port, endpoints=tuple(endpoints)))
    return tuple(found)


def _check_places(hosts: Sequence[HostSpec], servers: Sequence[PlacedServer]) -> None:
    if not servers:
        raise InvalidRequest("nothing to deploy: no server is placed")
    known = {host.name: host for host in hosts}
    held: Counter[tuple[str, int]] = Counter()
    parts: dict[tuple[str, int], float] = {}
    for server in servers:
        places = [part.host for part in server.parts]
        if len(set(places)) != len(places):
            raise InvalidRequest(f"a server of '{server.service}' names one host twice; one part a host")
        for part in server.parts:
            host = known.get(part.host)
            if host is None:
                raise InvalidRequest(f"a server of '{server.service}' stands on '{part.host}', which is no host here")
            _check_part(server.kind, part.devices, host, server.service)
            for device in part.devices:
                held[part.host, device] += 1
                parts[part.host, device] = parts.get((part.host, device), 0.0) + server.kind.gpu_part
    over = next((place for place, share in parts.items() if share > 1 + _SLACK), None)
    if over is not None:
        raise InvalidRequest(
            f"GPU {over[1]} of '{over[0]}' holds {held[over]} servers whose parts add up to {parts[over]:g} GPUs"
        )


def _check_part(kind: ServerKind, devices: tuple[int, ...], host: HostSpec, service: str) -> None:
    if len(set(devices)) != len(devices) or not all(0 <= device < host.gpus for device in devices):
        raise InvalidRequest(
            f"a server of '{service}' takes the GPUs {', '.join(map(str, devices))} of '{host.name}', which has "
            f"{host.gpus}, numbered from 0"
        )
    if kind.gpu.id != host.gpu.id:
        raise InvalidRequest(f"a server of '{service}' is for {kind.gpu.id}, and '{host.name}' has {host.gpu.id}")
