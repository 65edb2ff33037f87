"""The activation peak of the profile run: what PyTorch holds at its highest beyond weights and buffers.

    peak(T, S) = max(forward(T), sampler(T, S), encoder(T, S))
    forward = base + (kept + token + factor * (residual + widest layer)) * T
    sampler = base + (kept + token + hidden) * T + (dtype + c(release)) * vocab * S

with T = max_num_batched_tokens, S = max_num_seqs, and `kept` the workspaces that outlive their layer (experts, MLA,
encoder outputs). Only the last pipeline stage samples. Source of the terms: vLLM 0.19
`v1/worker/gpu_model_runner.py:profile_run, _dummy_sampler_run`, `v1/worker/workspace.py`; c, base, token and factor are
fitted (`profiles/data/startup_memory.json`).
"""

import math
from dataclasses import dataclass

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.kv.pages import state_bytes
from vllm_opt.constraints.memory.activation_widths import is_irregular, model_dtype_bytes, stage_terms
from vllm_opt.constraints.memory.cold_compile import compile_peak_bytes
from vllm_opt.constraints.memory.encoder_peak import EncoderPeak, encoder_peak
from vllm_opt.constraints.memory.model_runner import runs_on_v2
from vllm_opt.constraints.memory.own_terms import own_memory, times
from vllm_opt.profiles.normal import normal_quantile
from vllm_opt.profiles.nouns.engine import EngineProfile
from vllm_opt.profiles.nouns.gpu import GpuProfile
from vllm_opt.profiles.nouns.model import ModelProfile, StateSpace
from vllm_opt.profiles.nouns.quantization import Quantization


@dataclass(frozen=True)
class ActivationPeak:
    """Bytes per pipeline stage as two functions of the flags, each linear; the peak is the larger."""

    forward_fixed_bytes: tuple[int, ...]
    forward_bytes_per_token: tuple[int, ...]
    sampler_fixed_bytes: tuple[int, ...]
    sampler_bytes_per_token: tuple[int, ...]
    sampler_bytes_per_sequence: tuple[int, ...]
    relative_spread: float
    encoder: EncoderPeak | None = None
    """On the first stage."""
    compile_bytes: int = 0
    """What compiling takes on the first stage while the embedding is timed."""

    @property
    def has_floor(self) -> bool:
        """Whether something else than the language model may be the peak."""
        return self.encoder is not None or self.compile_bytes > 0

    def encoder_bytes(self, max_num_batched_tokens: int, max_num_seqs: int) -> int:
        """Peak of the encoder: 0 where none is profiled."""
        return 0 if self.encoder is None else self.encoder.bytes(max_num_batched_tokens, max_num_seqs)

    def floor_bytes(self, max_num_batched_tokens: int, max_num_seqs: int) -> int:
        """Floor of the first stage's peak: the encoder's, or what compiling takes."""
        return max(self.compile_bytes, self.encoder_bytes(max_num_batched_tokens, max_num_seqs))

    def bytes(self, max_num_batched_tokens: int, max_num_seqs: int) -> tuple[int, ...]:
        """Central estimate per stage."""
        encoder = self.floor_bytes(max_num_batched_tokens, max_num_seqs)
        return tuple(
            max(
                self.forward_fixed_bytes[stage] + self.forward_bytes_per_token[stage] * max_num_batched_tokens,
                self.sampler_fixed_bytes[stage]
                + self.sampler_bytes_per_token[stage] * max_num_batched_tokens
                + self.sampler_bytes_per_sequence[stage] * min(max_num_seqs, max_num_batched_tokens),
                encoder if stage == 0 else 0,
            )
            for stage in range(len(self.forward_fixed_bytes))
        )

    def bytes_at(self, confidence: float, max_num_batched_tokens: int, max_num_seqs: int) -> tuple[int, ...]:
        """Upper end per stage: the peak is no higher with probability `confidence`; each linear term is rounded up."""
        sequences = min(max_num_seqs, max_num_batched_tokens)
        encoder = self.floor_at(confidence, max_num_batched_tokens, max_num_seqs)
        return tuple(
            max(forward, sampler + each * sequences, 0 if stage else encoder)
            for stage, (forward, sampler, each) in enumerate(self.linear_at(confidence, max_num_batched_tokens))
        )

    def floor_at(self, confidence: float | None, max_num_batched_tokens: int, max_num_seqs: int) -> int:
        """Upper end of the floor on the first stage; None gives the central estimate."""
        central = self.floor_bytes(max_num_batched_tokens, max_num_seqs)
        return central if confidence is None else math.ceil(self.factor_at(confidence) * central)

    def scaled(self, factor: float) -> "ActivationPeak":
        """The same with the fitted terms multiplied; the floor is a formula and stays."""
        return ActivationPeak(
            times(factor, self.forward_fixed_bytes), times(factor, self.forward_bytes_per_token),
            times(factor, self.sampler_fixed_bytes), times(factor, self.sampler_bytes_per_token),
            times(factor, self.sampler_bytes_per_sequence), self.relative_spread, self.encoder, self.compile_bytes,
        )  # fmt: skip

    def factor_at(self, confidence: float) -> float:
        """By what the upper end multiplies the central estimate."""
        return 1.0 + max(0.0, normal_quantile(confidence)) * self.relative_spread

    def linear_at(self, confidence: float, max_num_batched_tokens: int) -> tuple[tuple[int, int, int], ...]:
        """Per stage (forward, sampler, sampler per sequence) of the upper end: the rows of the constraint model."""
        factor = self.factor_at(confidence)
        return tuple(
            (
                math.ceil(
                    factor * (self.forward_fixed_bytes[at] + self.forward_bytes_per_token[at] * max_num_batched_tokens)
                ),
                math.ceil(
                    factor * (self.sampler_fixed_bytes[at] + self.sampler_bytes_per_token[at] * max_num_batched_tokens)
                ),
                math.ceil(factor * self.sampler_bytes_per_sequence[at]),
            )
            for at in range(len(self.forward_fixed_bytes))
        )


def activation_peak(
    model: ModelProfile, quantization: Quantization, layout: Layout, engine: EngineProfile, gpu: GpuProfile
) -> ActivationPeak:
    """Return the activation peak of one rank per pipeline stage.

    What the user's own logs of this model on `gpu` say multiplies the forward and sampler terms.
    """
    constants = engine.startup
    base = math.ceil(constants.base_bytes.value)
    # The factor was fitted to regular models; on layers of many widths V0 was seen to take no more than the widths say.
    fitted = engine.engine != "v0" or not is_irregular(model)
    factor = constants.forward_factor.value if fitted else 1.0
    per_token = math.ceil(constants.token_bytes.value)
    per_logit = sampler_bytes_per_logit(model, quantization, engine)
    skips_sampler = layout.enable_chunked_prefill and not constants.sampler_runs_with_chunked_prefill
    stages = stage_terms(
        model, layout, quantization.activation_bits, workspace_persists=constants.expert_workspace_persists
    )
    sampling = tuple(stage.samples and not skips_sampler for stage in stages)
    states = v0_state_bytes_per_sequence(model, layout, engine)
    peak = ActivationPeak(
        forward_fixed_bytes=tuple(base + stage.kept_fixed_bytes + stage.transient_fixed_bytes for stage in stages),
        forward_bytes_per_token=tuple(
            math.ceil(factor * stage.width_bytes_per_token) + stage.kept_bytes_per_token + per_token for stage in stages
        ),
        sampler_fixed_bytes=tuple(
            base + stage.kept_fixed_bytes + (stage.transient_fixed_bytes if states else 0) for stage in stages
        ),
        sampler_bytes_per_token=tuple(
            stage.kept_bytes_per_token
            + max(stage.hidden_bytes_per_token, states and stage.width_bytes_per_token)
            + per_token
            if samples or states
            else 0
            for stage, samples in zip(stages, sampling, strict=True)
        ),
        sampler_bytes_per_sequence=tuple(
            (stage.logit_bytes_per_sequence + math.ceil(per_logit * stage.vocab_size) if samples else 0) + states
            for stage, samples in zip(stages, sampling, strict=True)
        ),
        relative_spread=constants.activation_relative_spread,
        encoder=encoder_peak(model, layout, one_each=engine.engine == "v0"),
        compile_bytes=compile_peak_bytes(model, quantization, layout, engine),
    )
    own = own_memory(model.id, layout, engine, gpu)
    return peak if own is None or own.activation == 1.0 else peak.scaled(own.activation)


def v0_state_bytes_per_sequence(model: ModelProfile, layout: Layout, engine: EngineProfile) -> int:
    """Recurrent states of one sequence where V0 keeps them beside the paged cache; 0 elsewhere.

    V0 allocates `max_num_seqs` states of every layer in its profile run (`models/mamba_cache.py`, 0.10.1: one that
    could not be had was 27 layers x 256 x 5 MiB, vllm-project/vllm issue 23230), and a layer returns those of the
    prompts once more. Stages are not told apart: the one with the most layers may hold all of them.
    """
    if engine.engine != "v0":
        return 0
    element = model_dtype_bytes(model)
    sizes = [
        state_bytes(kind.mixer, layout.tensor_parallel_size, element)
        for kind in (model.layer_kinds[number] for number in model.layer_pattern)
        if isinstance(kind.mixer, StateSpace)
    ]
    return sum(sizes) + max(sizes, default=0)


def sampler_bytes_per_logit(model: ModelProfile, quantization: Quantization, engine: EngineProfile) -> float:
    """Bytes per sequence and vocabulary entry beyond the logits, by the model runner that this model gets."""
    constants = engine.startup
    if constants.sampler_v2_bytes_per_logit is not None and runs_on_v2(model, quantization, engine):
        return constants.sampler_v2_bytes_per_logit.value
    return constants.sampler_bytes_per_logit.value
