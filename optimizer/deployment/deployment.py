"""Deployment: every process that a plan starts, on which host, with which devices, port and words.

A `Deployment` is never written by hand. `assembled(name, hosts, servers)` (assembling.py) makes it from

- `HostSpec(name, gpu, gpus)`: the machines there are, e.g. one per node of a placement, and
- `PlacedServer(service, replica, kind, parts)`: one server each, `kind` from `kind_of_plan(plan, gpu)`, `parts` the
  hosts that it spans with its device numbers there; the first part is the head.

Equal kinds under one service name become one `Service`; ports, master addresses, roles and the words of each process
follow from there. For `vllm-opt place`:

    kind = kind_of_plan(server.plan, catalog.gpu(server.plan.gpu), gpu_part=1 / servers_on_that_gpu)
    PlacedServer(service=server.service, replica=server.replica, kind=kind,
                 parts=tuple(Part(host=part.node, devices=part.gpus) for part in server.parts))
    deployment = assembled("site", hosts, servers, request=answer.request, source="placement")
    write_folder(deployment, directory, emit=("scripts", "kubernetes"), check=False)
"""

from typing import Any, Literal

from pydantic import Field

from vllm_opt.optimizer.contract.answer import Plan
from vllm_opt.profiles.noun import Noun
from vllm_opt.profiles.nouns.gpu import GpuProfile

Source = Literal["plan", "fleet", "placement", "estimate"]


class ServerKind(Noun):
    """What one server is, wherever it stands."""

    command: tuple[str, ...] = Field(min_length=3, description="vllm serve MODEL FLAGS; without port, host or nodes")
    env: dict[str, str] = Field(default_factory=dict, description="environment that the plan itself needs")
    gpu: GpuProfile
    gpus: int = Field(gt=0, description="GPUs of one server; a part of one counts as one")
    gpu_part: float = Field(1.0, gt=0, le=1, description="part of each GPU that it has; 1 unless it shares")
    engines: int = Field(1, gt=0, description="data-parallel size")
    vllm_version: str
    image_version: str = Field(description="release in the tag of the container image")
    flags_known: frozenset[str] = Field(
        frozenset(), description="flags of that release which concern nodes; empty: nothing known"
    )
    gpu_memory_utilization: float | None = Field(None, description="as the command says it; None: not stated")
    prefix_caching: bool = Field(True, description="whether it is on, stated or by the release's default")
    weights_bytes: int = Field(0, ge=0, description="weights of all GPUs of one server, which a start has to load")
    summary: str = Field("", description="one sentence: model, GPUs, release")
    comments: tuple[str, ...] = Field((), description="what must be known before a start, e.g. how to make weights")
    plan: Plan | None = Field(None, description="with its predictions, for expected.json; None for an estimate")


class Part(Noun):
    """The devices of one server on one host."""

    host: str
    devices: tuple[int, ...] = Field(min_length=1)


class PlacedServer(Noun):
    """One server and where it stands."""

    service: str = Field(description="what it serves, in the user's words: a workload or service name")
    replica: int = Field(ge=0)
    kind: ServerKind
    parts: tuple[Part, ...] = Field(min_length=1, description="the first holds the head")
    order: int = Field(0, ge=0, description="place among the servers of its GPU, which start one after another")
    sleeps: bool = Field(False, description="put to sleep once it has started: others of its GPU take its memory")
    lengths: str = Field("", description="which requests come here, where a workload is split by length")


class HostSpec(Noun):
    """One machine before anything stands on it."""

    name: str
    gpu: GpuProfile
    gpus: int = Field(gt=0)
    what: str = Field("", description="where it comes from; only expected.json says so, because it depends on prices")


class Process(Noun):
    """One `vllm serve` on one host; a server over several hosts has one on each."""

    service: str = Field(description="name of its Service")
    replica: int
    role: Literal["alone", "head", "worker"]
    node_rank: int = 0
    nodes: int = Field(1, description="hosts that the server spans")
    devices: tuple[int, ...]
    port: int | None = Field(description="of the HTTP API; None for a worker, which has none")
    master: str | None = Field(None, description="host of the head; None on one host")
    master_port: int | None = None
    ray_port: int | None = Field(None, description="of the Ray head, where the release joins hosts by Ray")
    argv: tuple[str, ...] = Field(description="words as they run here, port and node flags included")
    env: dict[str, str] = Field(description="environment, visible devices included")
    gpu_part: float = 1.0
    gpu_memory_utilization: float | None = None
    order: int = 0
    sleeps: bool = False


class Host(Noun):
    """One machine with what runs on it."""

    name: str = Field(description="DNS label that begins with a letter; also the name of its files")
    address: str = Field(description="where others reach it, unless its variable says otherwise: the name as given")
    gpu: GpuProfile
    gpus: int
    what: str = ""
    processes: tuple[Process, ...] = ()


class Service(Noun):
    """All replicas of one kind of server that serve one thing."""

    name: str = Field(description="DNS label, at most 50 characters, unique in the deployment")
    workload: str = Field(description="the user's own word for what is served; equals the name where there is none")
    kind: ServerKind
    replicas: int = Field(gt=0)
    nodes: int = Field(1, gt=0, description="hosts that one server spans")
    lengths: str = ""


class Endpoint(Noun):
    """Where one server answers."""

    service: str
    replica: int
    host: str
    port: int


class Router(Noun):
    """One address for all servers that answer the same requests."""

    name: str
    port: int
    endpoints: tuple[Endpoint, ...] = Field(min_length=2)


class Deployment(Noun):
    """Everything that runs, host by host."""

    name: str
    source: Source
    request: dict[str, Any] = Field(default_factory=dict, description="the resolved request that was answered")
    services: tuple[Service, ...] = Field(min_length=1)
    hosts: tuple[Host, ...] = Field(min_length=1)
    routers: tuple[Router, ...] = ()

    def service(self, name: str) -> Service:
        """The service of a process."""
        return next(service for service in self.services if service.name == name)

    def address_of(self, name: str) -> str:
        """Where a host is reached."""
        return next(host.address for host in self.hosts if host.name == name)

    def processes_of(self, name: str) -> tuple[tuple[Host, Process], ...]:
        """Every process of a service with its host, replicas in order, heads first."""
        found = [(host, each) for host in self.hosts for each in host.processes if each.service == name]
        return tuple(sorted(found, key=lambda pair: (pair[1].replica, pair[1].node_rank)))
