"""What stays the same between requests about one model and one vLLM release, whatever their load and limits."""

from dataclasses import dataclass, field

from vllm_opt.constraints.decisions.violation import Violation
from vllm_opt.constraints.kv.kv_plan import KvPlan
from vllm_opt.constraints.memory.activations import ActivationPeak
from vllm_opt.constraints.memory.overheads import GraphMemory
from vllm_opt.constraints.speed.step_time import LatencyCoefficients
from vllm_opt.constraints.weights.parameter_bytes import WeightTable

KnownGraphs = dict[tuple[int, int, float | None], int]
KnownCoefficients = dict[bool, LatencyCoefficients]
"""Of one layout, in eager mode and with CUDA graphs."""
Key = tuple[object, ...]


@dataclass(frozen=True)
class SharedLayouts:
    """Parts of layouts computed once; whoever hands it to several requests sees to it that model, release, GPU data and
    the use of calibration are the same in all of them."""

    tables: dict[str, WeightTable] = field(default_factory=dict)
    weights: dict[Key, tuple[int, ...]] = field(default_factory=dict)
    loads: dict[Key, tuple[int, ...]] = field(default_factory=dict)
    dtypes: dict[Key, str] = field(default_factory=dict)
    plans: dict[Key, KvPlan | Violation] = field(default_factory=dict)
    choices: dict[Key, tuple[Violation, ...]] = field(default_factory=dict)
    divisions: dict[Key, tuple[Violation, ...]] = field(default_factory=dict)
    layers: dict[Key, tuple[tuple[int, ...], ActivationPeak]] = field(default_factory=dict)
    captures: dict[Key, tuple[GraphMemory, KnownGraphs]] = field(default_factory=dict)
    coefficients: dict[Key, KnownCoefficients] = field(default_factory=dict)
