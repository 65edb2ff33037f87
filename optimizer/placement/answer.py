"""What `place` answers: `PlacementAnswer`. `.model_dump(mode="json")` equals the command line's JSON."""

from typing import Any, Literal

from pydantic import Field

from vllm_opt.optimizer.contract.answer import Explanation, ObjectiveValue, Plan, Report
from vllm_opt.optimizer.contract.second_opinion import SecondOpinion
from vllm_opt.profiles.noun import Noun

FOUND_IN_TIME = "the plans found in time"
"""what the bounds hold for where the time for plans ran out"""
OUT_OF_TIME = "time_limit"
"""rule of the conflict of a service for which no plan was found in time"""


class ServerOnGpu(Noun):
    """One server on one GPU."""

    service: str
    replica: int
    gpu_memory_utilization: float
    bytes: int = Field(
        description="its memory budget and what stands outside it: CUDA context, NCCL, graphs before 0.20"
    )
    sleeps: bool = Field(False, description="asleep until a request comes; `bytes` are those while awake")
    asleep_bytes: int | None = None


class GpuOfNode(Noun):
    """One GPU, or one MIG instance."""

    index: int
    shown: str = Field("", description="'0:1' is the second MIG instance of GPU 0; empty for a whole GPU")
    gpu: str = Field(description="SKU")
    island: int
    memory_bytes: int
    free_bytes: int = Field(description="beside everything that its servers hold at once")
    start_order: tuple[str, ...] = Field((), description="servers one after another, as service/replica")
    servers: tuple[ServerOnGpu, ...] = ()


class NodeOfSite(Noun):
    """One node and what stands on it."""

    name: str
    zone: str = ""
    host_memory_used_bytes: int = 0
    gpus: tuple[GpuOfNode, ...]


class ServerPart(Noun):
    """GPUs of one node that a server takes."""

    node: str
    gpus: tuple[int, ...]


class PlacedReplica(Noun):
    """One `vllm serve`."""

    service: str
    replica: int
    parts: tuple[ServerPart, ...]
    capacity: float = Field(description="what it serves within its limits, in `unit`")
    unit: Literal["requests/s", "sequences"]
    kept: bool = Field(False, description="it stands as it stands today and is not restarted")
    sleeps: bool = False
    shares_with: tuple[str, ...] = Field((), description="other servers on its GPU, as service/replica")
    slowdown: tuple[float, float] = Field(
        (1.0, 1.0), description="step time over that of a GPU of its own: others idle, and all others busy"
    )
    plan: Plan = Field(description="as on a GPU of its own; `capacity` and `slowdown` say what sharing leaves")


class ServedService(Noun):
    """How much of one service is served."""

    service: str
    priority: int
    replicas: int
    demand: float = Field(description="asked, over utilization_cap where it is a rate, in `unit`")
    capacity: float
    headroom: float = Field(description="capacity / demand - 1")
    served: float = Field(description="share of the demand, 1 is all of it")
    in_full: bool
    capacity_without_a_node: float | None = Field(None, description="after the worst loss of one node")
    unit: Literal["requests/s", "sequences"]


class Move(Noun):
    """One step from today to the placement; done in this order, no GPU ever holds more than it has."""

    step: int
    action: Literal["stop", "start"]
    service: str
    replica: int | None = Field(description="number in the placement; None for a server that is stopped for good")
    parts: tuple[ServerPart, ...]
    restart_s: float | None = Field(
        None, description="of a start: reading the checkpoint and the rest; None: not known"
    )
    replicas_left: int = Field(description="servers of this service that run after the step")
    why: str = ""


class Unplaced(Noun):
    """A service that is not served in full."""

    service: str
    replicas: int = Field(description="of its least replicas, how many are missing")
    explanation: Explanation


class PlacementSolverReport(Noun):
    """How the answer was found."""

    wall_ms: float
    plans: int = Field(description="columns: plans of one replica")
    gpu_patterns: int = Field(description="ways in which servers share one GPU")
    node_classes: int = Field(description="kinds of nodes that the model tells apart")
    workers: int
    seed: int


class PlacementAnswer(Report):
    """The answer to a `PlaceRequest`."""

    schema_name: str = Field("vllm-opt/placement/1", alias="schema")
    status: Literal["optimal", "feasible", "infeasible", "unknown"]
    covers: str = Field("the plans in the model", description="what the bounds hold for")
    request: dict[str, Any]
    objectives: tuple[ObjectiveValue, ...] = ()
    nodes: tuple[NodeOfSite, ...] = ()
    servers: tuple[PlacedReplica, ...] = ()
    services: tuple[ServedService, ...] = ()
    moves: tuple[Move, ...] = ()
    unplaced: tuple[Unplaced, ...] = ()
    second_opinion: SecondOpinion | None = Field(None, description="of every plan and GPU, where it was asked for")
    notes: tuple[str, ...] = ()
    solver: PlacementSolverReport

    @property
    def missing_is_proven(self) -> bool:
        """Whether no placement serves more in full; else time ran out, and what is missing might fit."""
        hurried = any(
            each.explanation.conflict[:1] and each.explanation.conflict[0].rule == OUT_OF_TIME for each in self.unplaced
        )
        served = [each for each in self.objectives if each.name.startswith("served:")]
        return self.status != "unknown" and not hurried and all(each.value == each.bound for each in served)
