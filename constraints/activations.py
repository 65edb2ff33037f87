"""The activation peak of the profile run: what PyTorch holds at its highest beyond weights and buffers.

    peak(T, S) = max(forward(T), sampler(T, S))
    forward = base + kept * T + factor * (residual + widest layer) * T
    sampler = base + kept * T + hidden * T + (dtype + c(release)) * vocab * S

with T = max_num_batched_tokens, S = max_num_seqs, and `kept` the workspaces that outlive their layer (experts, MLA,
encoder outputs). Only the last pipeline stage samples. Source of the terms: vLLM 0.19
`v1/worker/gpu_model_runner.py:profile_run, _dummy_sampler_run`, `v1/worker/workspace.py`; c and base are fitted
(`profiles/data/startup_memory.json`).
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

from vllm_opt.constraints.activation_widths import (
    expert_workspace_bytes,
    latent_workspace_bytes,
    layer_bytes,
    model_dtype_bytes,
    residual_bytes,
)
from vllm_opt.constraints.configuration import Layout
from vllm_opt.constraints.pipeline_stages import stage_layers
from vllm_opt.profiles.engine import EngineProfile
from vllm_opt.profiles.gpu import GpuProfile
from vllm_opt.profiles.model import Experts, ModelProfile, StateSpace
from vllm_opt.profiles.quantization import Quantization


@dataclass(frozen=True)
class ActivationPeak:
    """Bytes per pipeline stage as two functions of the flags, each linear; the peak is the larger."""

    forward_fixed_bytes: tuple[int, ...]
    forward_bytes_per_token: tuple[int, ...]
    sampler_fixed_bytes: tuple[int, ...]
    sampler_bytes_per_token: tuple[int, ...]
    sampler_bytes_per_sequence: tuple[int, ...]
    relative_spread: float

    def bytes(self, max_num_batched_tokens: int, max_num_seqs: int) -> tuple[int, ...]:
        """Central estimate per stage."""
        return tuple(
            max(
                self.forward_fixed_bytes[stage] + self.forward_bytes_per_token[stage] * max_num_batched_tokens,
                self.sampler_fixed_bytes[stage]
                + self.sampler_bytes_per_token[stage] * max_num_batched_tokens
                + self.sampler_bytes_per_sequence[stage] * min(max_num_seqs, max_num_batched_tokens),
            )
            for stage in range(len(self.forward_fixed_bytes))
        )

    def bytes_at(self, confidence: float, max_num_batched_tokens: int, max_num_seqs: int) -> tuple[int, ...]:
        """Upper end per stage: the peak is no higher with probability `confidence`; rounded up."""
        factor = 1.0 + max(0.0, NormalDist().inv_cdf(confidence)) * self.relative_spread
        return tuple(math.ceil(central * factor) for central in self.bytes(max_num_batched_tokens, max_num_seqs))


def activation_peak(
    model: ModelProfile, quantization: Quantization, layout: Layout, engine: EngineProfile, gpu: GpuProfile
) -> ActivationPeak:
    """Return the activation peak of one rank per pipeline stage.

    The argument `gpu` is part of the interface for terms that differ by kernel; none does so far.
    """
    del gpu
    constants = engine.startup
    base = math.ceil(constants.base_bytes.value)
    element = model_dtype_bytes(model)
    stages = stage_layers(model.num_hidden_layers, layout.pipeline_parallel_size)
    forward_fixed, forward_token, sampler_fixed, sampler_token, sampler_sequence = [], [], [], [], []
    for number, stage in enumerate(stages):
        kinds = [model.layer_kinds[kind] for kind in sorted(set(model.layer_pattern[stage.start : stage.stop]))]
        experts = max((expert_workspace_bytes(kind, model, layout) for kind in kinds), default=0)
        persists = constants.expert_workspace_persists
        latent = [latent_workspace_bytes(kind, model, layout) for kind in kinds]
        latent_kept, latent_transient = (max((pair[side] for pair in latent), default=0) for side in (0, 1))
        kept_token = (experts if persists else 0) + _encoder_bytes(model, first=number == 0)
        widest = max(layer_bytes(kind, model, layout, quantization.activation_bits) for kind in kinds)
        if not persists:
            widest = max(widest, experts + 2 * model.hidden_size * element)
        width = constants.forward_factor.value * (widest + residual_bytes(model, layout))
        samples = number == len(stages) - 1 and model.has_lm_head and _samples(layout, engine)
        per_logit = element + sampler_bytes_per_logit(model, quantization, engine)
        forward_fixed.append(base + latent_kept + latent_transient)
        forward_token.append(math.ceil(width) + kept_token)
        sampler_fixed.append(base + latent_kept)
        sampler_token.append(kept_token + model.hidden_size * element if samples else 0)
        sampler_sequence.append(math.ceil(per_logit * model.vocab_size) if samples else 0)
    return ActivationPeak(
        tuple(forward_fixed),
        tuple(forward_token),
        tuple(sampler_fixed),
        tuple(sampler_token),
        tuple(sampler_sequence),
        constants.activation_relative_spread,
    )


def sampler_bytes_per_logit(model: ModelProfile, quantization: Quantization, engine: EngineProfile) -> float:
    """Bytes per sequence and vocabulary entry beyond the logits, by the model runner that this model gets."""
    constants = engine.startup
    if constants.sampler_v2_bytes_per_logit is not None and runs_on_v2(model, quantization, engine):
        return constants.sampler_v2_bytes_per_logit.value
    return constants.sampler_bytes_per_logit.value


def runs_on_v2(model: ModelProfile, quantization: Quantization, engine: EngineProfile) -> bool:
    """Whether a release runs this model on the V2 model runner (`config/vllm.py:use_v2_model_runner`)."""
    rule = engine.model_runner_v2
    if rule == "none" or (rule != "all" and any(isinstance(kind.mixer, StateSpace) for kind in model.layer_kinds)):
        return False
    if rule == "all" or model.architecture in engine.model_runner_v2_architectures:
        return rule != "listed" or quantization.weight_bits >= 16
    return rule == "listed_or_dense" and not any(isinstance(kind.feed_forward, Experts) for kind in model.layer_kinds)


def _samples(layout: Layout, engine: EngineProfile) -> bool:
    return engine.startup.sampler_runs_with_chunked_prefill or not layout.enable_chunked_prefill


def _encoder_bytes(model: ModelProfile, *, first: bool) -> int:
    """Encoder outputs and pixels that the profile run keeps, per token of the encoder budget (= T)."""
    if model.vision is None or not first:
        return 0
    return model.hidden_size * model_dtype_bytes(model) + model.vision.pixel_bytes_per_token
