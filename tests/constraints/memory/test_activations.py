"""The activation peak: widths from the architecture, and the larger of a forward and a sampler term."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.memory.activation_widths import StageTerms, stage_terms
from vllm_opt.constraints.memory.activations import ActivationPeak, activation_peak, sampler_bytes_per_logit
from vllm_opt.constraints.memory.model_runner import runs_on_v2
from vllm_opt.profiles.catalogues.catalog import Catalog

CATALOG = Catalog()
GIB = 1 << 30
LLAMA = "meta-llama/Llama-3.1-8B-Instruct"


def terms(model: str, *, tp: int = 1, pp: int = 1, bits: int = 16, persists: bool = True) -> tuple[StageTerms, ...]:
    layout = Layout(gpu="h100-sxm", tensor_parallel_size=tp, pipeline_parallel_size=pp)
    return stage_terms(CATALOG.model(model), layout, bits, workspace_persists=persists)


def peak(
    model: str = LLAMA, version: str = "0.19.0", *, quantization: str = "bf16", chunked: bool = True, **layout: int
) -> ActivationPeak:
    gpu = CATALOG.gpu("h100-sxm")
    engine, _ = CATALOG.engine(version)
    chosen = Layout(gpu=gpu.id, quantization=quantization, enable_chunked_prefill=chunked, **layout)
    return activation_peak(CATALOG.model(model), CATALOG.quantization(quantization), chosen, engine, gpu)


def test_dense_width_is_residual_plus_gate_up_and_activated_half() -> None:
    # 2 x 4096 x 2 residual and hidden; (2 + 1) x 14336 x 2 inside the MLP
    (stage,) = terms(LLAMA)
    assert stage.width_bytes_per_token == 16_384 + 86_016
    assert stage.hidden_bytes_per_token == 8_192
    assert stage.logit_bytes_per_sequence == 256_512
    assert stage.samples
    assert stage.kept_bytes_per_token == 0


def test_tensor_parallel_divides_the_layer_but_not_the_residual() -> None:
    (stage,) = terms(LLAMA, tp=2, bits=8)
    assert stage.width_bytes_per_token == 16_384 + 43_008 + 7_168  # and one int8 copy of 14336 / 2


def test_only_the_last_stage_samples_and_stages_pass_a_pair_on() -> None:
    first, last = terms(LLAMA, pp=2)
    assert (first.samples, last.samples) == (False, True)
    assert first.width_bytes_per_token == 2 * 16_384 + 86_016


def test_expert_workspace_of_mixtral() -> None:
    # top-2 x (max(2 x 7168, 4096) + 7168) x 2 bytes on each of two ranks
    (stage,) = terms("mistralai/Mixtral-8x7B-Instruct-v0.1", tp=2)
    assert stage.kept_bytes_per_token == 2 * (14_336 + 7_168) * 2
    (older,) = terms("mistralai/Mixtral-8x7B-Instruct-v0.1", tp=2, persists=False)
    assert older.kept_bytes_per_token == 0
    assert older.width_bytes_per_token == 16_384 + 86_016 + 2 * 4096 * 2


def test_latent_workspace_of_deepseek_v3() -> None:
    (stage,) = terms("deepseek-ai/DeepSeek-V3", tp=8)
    assert stage.kept_fixed_bytes == 65_536 * 576 * 2
    assert stage.transient_fixed_bytes == 65_536 * 16 * (128 + 128) * 2


def test_a_vision_model_keeps_encoder_outputs_and_pixels() -> None:
    # Gemma 3: 256 tokens stand for 896 x 896 pixels of 3 channels in 16 bits
    (stage,) = terms("google/gemma-3-12b-it")
    assert stage.kept_bytes_per_token == 3_840 * 2 + 896 * 896 * 3 * 2 // 256


def test_default_flags_are_ruled_by_the_sampler_and_few_sequences_by_the_forward_pass() -> None:
    activation = peak()
    by_sampler = activation.bytes(8192, 1024)[0]
    assert by_sampler > activation.bytes(8192, 16)[0]
    assert activation.bytes(8192, 16) == activation.bytes(8192, 1)
    assert activation.bytes(8192, 1024)[0] / GIB == pytest.approx(1.89, rel=0.02)  # printed by 0.19.0 on H100


def test_the_sort_of_the_vocabulary_left_in_0_17() -> None:
    assert peak(version="0.16.0").bytes(8192, 1024)[0] / GIB == pytest.approx(4.76, rel=0.02)  # printed in the 0.11 era
    assert peak(version="0.17.0").bytes(8192, 1024)[0] < peak(version="0.16.0").bytes(8192, 1024)[0] / 2


def test_a_pipeline_rank_without_sampler_shows_the_forward_peak_alone() -> None:
    activation = peak(pipeline_parallel_size=4)
    first, *_, last = activation.bytes(8192, 1024)
    assert first / GIB == pytest.approx(1.05, rel=0.05)  # printed by 0.19.0 on H100
    assert first < last
    assert activation.sampler_bytes_per_sequence[0] == 0


def test_v0_before_0_8_did_not_sample_in_a_chunked_profile_run() -> None:
    assert peak(version="0.6.6", chunked=True).bytes(2048, 256)[0] / GIB == pytest.approx(0.22, rel=0.1)
    assert peak(version="0.6.6", chunked=False).bytes(2048, 256)[0] / GIB == pytest.approx(1.24, rel=0.05)


def test_long_profile_run_of_v0() -> None:
    # 131,072 tokens at once: 14.63 GiB printed
    assert peak(version="0.7.3", chunked=False).bytes(131_072, 256)[0] / GIB == pytest.approx(14.63, rel=0.06)


def test_which_model_runner_a_release_uses() -> None:
    bf16, fp8 = CATALOG.quantization("bf16"), CATALOG.quantization("fp8")
    qwen3, llama, mixtral = (
        CATALOG.model(name) for name in ("Qwen/Qwen3-8B", LLAMA, "mistralai/Mixtral-8x7B-Instruct-v0.1")
    )
    engines = {version: CATALOG.engine(version)[0] for version in ("0.19.0", "0.22.0", "0.28.0", "0.33.0")}
    assert not runs_on_v2(qwen3, bf16, engines["0.19.0"])
    assert runs_on_v2(qwen3, bf16, engines["0.22.0"])
    assert not runs_on_v2(qwen3, fp8, engines["0.22.0"])
    assert not runs_on_v2(llama, bf16, engines["0.22.0"])
    assert runs_on_v2(llama, bf16, engines["0.28.0"])
    assert not runs_on_v2(mixtral, bf16, engines["0.28.0"])
    assert runs_on_v2(mixtral, bf16, engines["0.33.0"])
    assert sampler_bytes_per_logit(mixtral, bf16, engines["0.28.0"]) > sampler_bytes_per_logit(
        llama, bf16, engines["0.28.0"]
    )


@given(
    tokens=st.integers(1, 65_536),
    more=st.integers(0, 65_536),
    sequences=st.integers(1, 4096),
    extra=st.integers(0, 4096),
)
def test_the_peak_never_falls_when_a_flag_rises(tokens: int, more: int, sequences: int, extra: int) -> None:
    low, high = PEAK.bytes(tokens, sequences), PEAK.bytes(tokens + more, sequences + extra)
    assert all(a <= b for a, b in zip(low, high, strict=True))


@given(confidence=st.floats(0.5, 0.99))
def test_confidence_only_adds(confidence: float) -> None:
    assert PEAK.bytes_at(confidence, 8192, 256)[0] >= PEAK.bytes(8192, 256)[0]
    assert PEAK.bytes_at(0.5, 8192, 256) == PEAK.bytes(8192, 256)


PEAK = peak("google/gemma-3-12b-it")
