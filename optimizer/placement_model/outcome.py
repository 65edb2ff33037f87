"""What the search for a placement returns."""

from dataclasses import dataclass
from typing import Literal

from vllm_opt.constraints.placing.site import PlacedServer

Status = Literal["optimal", "feasible", "unknown"]


@dataclass(frozen=True)
class PlacementOptions:
    """How long and how exactly to search."""

    time_limit: float = 30.0
    workers: int = 1
    seed: int = 0
    relative_gap: float = 0.0


@dataclass(frozen=True)
class PlacementBound:
    """One objective: what the placement reaches, and what no placement exceeds."""

    name: str
    value: int
    bound: int
    proven: bool


@dataclass(frozen=True)
class PlacementOutcome:
    """The best placement found, with a bound for every objective."""

    status: Status
    servers: tuple[PlacedServer, ...]
    bounds: tuple[PlacementBound, ...]
    classes: int
    """classes of nodes in the model that decided"""
    patterns: int
    """ways in which servers share one GPU"""
    split: bool
    """whether every node stood for itself in the end"""
