"""Which of vLLM's two model runners runs a model, and what that changes in the start-up sum.

The V2 runner of 0.22 to 0.28 answers 0 when it is asked what CUDA graphs will take, so there they come out of what the
budget leaves (vLLM `v1/worker/gpu/model_runner.py:profile_cudagraph_memory`; vllm-project/vllm issue 49224).
"""

from vllm_opt.profiles.nouns.engine import EngineProfile
from vllm_opt.profiles.nouns.model import Experts, ModelProfile, StateSpace
from vllm_opt.profiles.nouns.quantization import Quantization


def runs_on_v2(model: ModelProfile, quantization: Quantization, engine: EngineProfile) -> bool:
    """Whether a release runs this model on the V2 model runner (`config/vllm.py:use_v2_model_runner`)."""
    rule = engine.model_runner_v2
    if rule == "none" or (rule != "all" and any(isinstance(kind.mixer, StateSpace) for kind in model.layer_kinds)):
        return False
    if rule == "all" or model.architecture in engine.model_runner_v2_architectures:
        return rule != "listed" or quantization.weight_bits >= 16
    return rule == "listed_or_dense" and not any(isinstance(kind.feed_forward, Experts) for kind in model.layer_kinds)


def engine_as_run(model: ModelProfile, quantization: Quantization, engine: EngineProfile) -> EngineProfile:
    """Return the release as it sums up the memory of this model: with or without its graphs in the budget."""
    if engine.model_runner_v2_estimates_graphs or not engine.graphs_in_budget:
        return engine
    if not runs_on_v2(model, quantization, engine):
        return engine
    return engine.model_copy(update={"graphs_in_budget": False})
