"""ModelProfile + GpuProfile + Quantization + Layout -> the seconds that `step_time` multiplies."""

import math

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.speed.adapters import adapter_cost
from vllm_opt.constraints.speed.communication_time import communication, expert_imbalance
from vllm_opt.constraints.speed.kernel_paths import effective_path, path_on, path_peak
from vllm_opt.constraints.speed.model_work import ModelWork, model_work
from vllm_opt.constraints.speed.own_factors import with_own
from vllm_opt.constraints.speed.step_time import LatencyCoefficients
from vllm_opt.constraints.speed.unit_seconds import (
    combined_spread,
    decode_seconds,
    expert_seconds,
    kv_element_bytes,
    latent_seconds,
    launch_seconds,
    layer_seconds,
    matrix_seconds,
    several_workers,
    steps_ahead,
    unmeasured_features,
)
from vllm_opt.profiles.nouns.gpu import GpuProfile
from vllm_opt.profiles.nouns.latency_constants import CalibrationCell, LatencyBasis, LatencyConstants, Spread
from vllm_opt.profiles.nouns.model import ModelProfile
from vllm_opt.profiles.nouns.quantization import Quantization

BASIS_RANK = {"measured": 0.0, "fitted": 1.0, "datasheet": 2.0}


def latency_coefficients(
    model: ModelProfile,
    quantization: Quantization,
    layout: Layout,
    gpu: GpuProfile,
    constants: LatencyConstants,
    *,
    calibrated: bool = True,
    release: str | None = None,
    host_release: str | None = None,
    work: ModelWork | None = None,
) -> LatencyCoefficients:
    """Seconds per unit of one engine of `layout` on `gpu`.

    `calibrated` applies the cell of (model, SKU, path, TP) and what the user measured; `release` is the vLLM version,
    None the newest measured; `host_release` the one whose scheduler speed holds where a flag (--async-scheduling)
    changes it, None `release`; `work` is `model_work(model, quantization)` where the caller has it.
    Nothing here is biased to the slow side: what no measurement covers widens the interval.
    """
    card = CardSpeed(
        model, quantization, gpu, constants, calibrated=calibrated, release=release, host_release=host_release,
        work=work,
    )  # fmt: skip
    return card.of(layout)


class CardSpeed:
    """`latency_coefficients` of one weight format on one SKU: what its layouts have in common is worked out once."""

    def __init__(
        self,
        model: ModelProfile,
        quantization: Quantization,
        gpu: GpuProfile,
        constants: LatencyConstants,
        *,
        calibrated: bool = True,
        release: str | None = None,
        host_release: str | None = None,
        work: ModelWork | None = None,
    ) -> None:
        self._model, self._quantization, self._gpu, self._constants = model, quantization, gpu, constants
        self._calibrated, self._release = calibrated, release
        self._work = work = work or model_work(model, quantization)
        self._own, shared = constants.gpu_constants(gpu), constants.shared
        self._name = effective_path(quantization, gpu)
        self._path = path_on(constants, self._own, self._name)
        self._age = constants.release_factor(gpu, release)
        self._scheduler = self._age if host_release is None else constants.release_factor(gpu, host_release)
        self._ahead_steps = steps_ahead(host_release or release)
        self._expert_age = self._age.block_experts if self._name == "fp8_block" else 1.0
        self._plain = path_peak(quantization, gpu) == gpu.half_flops_per_s
        self._bytes_per_s = gpu.memory_bandwidth_bytes_per_s * self._own.memory_efficiency
        reading = self._own.kv_read_efficiency or shared.kv_read_efficiency
        self._kv_bytes_per_s = gpu.memory_bandwidth_bytes_per_s * reading
        attending = self._own.attention_efficiency or shared.attention_efficiency
        self._attention_flops = gpu.half_flops_per_s * attending
        self._layers = work.halves / 2
        layers_s = constants.generation_factor(gpu) * layer_seconds(work, shared, self._path)
        self._kernels_s = layers_s + latent_seconds(work, shared, self._own)
        self._launch_s, self._latent_launch_s = launch_seconds(work, shared)
        stream = shared.activation_passes * self._layers * 2 * work.hidden_size
        self._stream_s = stream / gpu.memory_bandwidth_bytes_per_s
        self._attended: dict[tuple[int, int, float], tuple[float, ...]] = {}
        self._multiplied: dict[int, tuple[float, float]] = {}
        self._routed: dict[tuple[int, int, bool], tuple[float, float, float, float]] = {}
        self._linked: dict[tuple[int, int, int, int], tuple[float, float]] = {}
        self._spreads: dict[tuple[LatencyBasis, int], Spread] = {}

    def of(self, layout: Layout) -> LatencyCoefficients:
        """Seconds per unit of one engine of a layout of this weight format on this SKU."""
        work, shared, gpu, path = self._work, self._constants.shared, self._gpu, self._path
        ranks = layout.tensor_parallel_size
        cell = self._cell(layout)
        host = self._scheduler.host
        front = host * self._constants.frontend_factor(gpu)
        measured = cell.step_factor if cell else 1.0
        factor = self._age.step * measured
        loaded = factor * (cell.load_factor if cell else 1.0)
        arithmetic = loaded * (self._age.compute if self._plain else 1.0)
        decode, decode_window, prefill, prefill_window, window, crossed_s = self._attention(layout)
        dense_memory_s, dense_compute_s = self._matrices(layout)
        expert_memory_s, expert_compute_s, miss, imbalance = self._experts(layout)
        link_fixed_s, link_token_s = self._links(layout)
        lora = adapter_cost(layout.adapters, work.hidden_size, self._layers, self._release)
        dense_memory_s += lora.bytes / ranks / self._bytes_per_s
        dense_compute_s += lora.flop_per_token / ranks / self._attention_flops
        sequence_s = host * self._scheduler.sequence * shared.sequence_s
        host_s = shared.step_s + (shared.worker_s if several_workers(work, layout) else 0.0)
        head_flops = gpu.half_flops_per_s * self._own.compute_efficiency
        basis, spread = self._spread(layout, measured=cell is not None)
        shipped = LatencyCoefficients.listed(
            dense_memory_s=measured * dense_memory_s,
            dense_compute_s_per_token=arithmetic * dense_compute_s,
            head_memory_s=measured * 2 * work.head_weights / ranks / self._bytes_per_s,
            head_compute_s_per_sequence=arithmetic * 2 * work.head_weights / ranks / head_flops,
            expert_memory_s=factor * expert_memory_s,
            expert_compute_s_per_token=arithmetic * self._expert_age * expert_compute_s,
            expert_miss_log=miss,
            expert_shape=shared.routing_shape,
            expert_imbalance=imbalance,
            decode_s_per_context_token=loaded * decode,
            decode_s_per_window_token=loaded * decode_window,
            prefill_s_per_span_token=loaded * prefill,
            prefill_s_per_window_token=loaded * prefill_window,
            window_tokens=window,
            token_s=lora.bytes_per_token / ranks / gpu.memory_bandwidth_bytes_per_s
            + loaded * (self._stream_s + link_token_s + work.state_flop / ranks / self._attention_flops),
            sequence_s=loaded * (sequence_s + 4 * work.state_elements / ranks / self._kv_bytes_per_s + crossed_s),
            fixed_s=factor * (self._kernels_s + host * host_s + self._age.link * link_fixed_s) + lora.fixed_s,
            eager_launch_s=self._launch_s,
            wide_launch_s=host * shared.compiled_launch_share * self._launch_s,
            latent_launch_s=self._age.latent_launch
            * (self._latent_launch_s + host * host_s * bool(work.latent_layers)),
            eager_s=self._layers * shared.eager_gap_s,
            eager=float(layout.enforce_eager),
            serial_share=shared.serial_share if path.serial_share is None else path.serial_share,
            frontend_s=front * shared.frontend_s,
            frontend_token_s=front * shared.frontend_token_s,
            busy_frontend_s=front * shared.busy_frontend_s,
            busy_users=shared.busy_users,
            request_s=front * shared.request_s,
            ahead_steps=self._ahead_steps,
            synchrony=shared.synchrony,
            prefill_factor=cell.prefill_factor if cell else 1.0,
            pipeline_stages=float(layout.pipeline_parallel_size),
            tpot_spread=spread.tpot,
            ttft_spread=spread.ttft,
            ttft_single_spread=spread.ttft_single or spread.ttft,
            ttft_poisson_spread=spread.ttft_poisson or spread.ttft,
            ttft_burst_spread=spread.ttft_burst or spread.ttft,
            throughput_spread=spread.throughput,
            basis_rank=BASIS_RANK[basis],
        )
        if gpu.own is None or not self._calibrated:
            return shipped
        return with_own(shipped, gpu.own.speed_of(work.shape, self._name, ranks))

    def _cell(self, layout: Layout) -> CalibrationCell | None:
        if not self._calibrated:
            return None
        sizes = layout.tensor_parallel_size, layout.data_parallel_size
        return self._constants.cell(self._work.shape, self._gpu.id, self._name, *sizes)

    def _attention(self, layout: Layout) -> tuple[float, ...]:
        """Per unit: decode over the context and over windows, prefill over both; the window; each decoder's own."""
        element = kv_element_bytes(layout, self._model)
        key = layout.tensor_parallel_size, layout.decode_context_parallel_size, element
        if key not in self._attended:
            self._attended[key] = self._attention_of(layout, element)
        return self._attended[key]

    def _attention_of(self, layout: Layout, element: float) -> tuple[float, ...]:
        share, flops, bytes_per_s = self._constants.shared.serial_share, self._attention_flops, self._kv_bytes_per_s
        if element <= 1.0:
            bytes_per_s *= self._own.narrow_kv_efficiency
        decode, prefill, window, crossed_s = [0.0, 0.0], [0.0, 0.0], 1.0, 0.0
        for group in self._work.attention:
            each = decode_seconds(group, layout, element, bytes_per_s, flops, share)
            if group.always:
                crossed_s += each * group.window_tokens
                continue
            windowed = int(group.window_tokens != math.inf)
            window = max(window, group.window_tokens) if windowed else window
            decode[windowed] += each
            heads = max(1.0, group.query_heads / layout.tensor_parallel_size)
            prefill[windowed] += group.layers * group.prefill_flop * heads / flops
        return *decode, *prefill, window, crossed_s

    def _matrices(self, layout: Layout) -> tuple[float, float]:
        key = layout.tensor_parallel_size
        if key not in self._multiplied:
            self._multiplied[key] = matrix_seconds(
                self._work, layout, self._gpu, self._own, self._path, self._quantization
            )
        return self._multiplied[key]

    def _experts(self, layout: Layout) -> tuple[float, float, float, float]:
        """`expert_seconds`, and `expert_imbalance`."""
        key = layout.tensor_parallel_size, layout.data_parallel_size, layout.expert_parallel
        if key not in self._routed:
            work = self._work
            seconds = expert_seconds(work, layout, self._gpu, self._constants, self._path, self._quantization)
            self._routed[key] = *seconds, expert_imbalance(work.experts, layout) if work.moe_layers else 0.0
        return self._routed[key]

    def _links(self, layout: Layout) -> tuple[float, float]:
        ranks, stages = layout.tensor_parallel_size, layout.pipeline_parallel_size
        key = ranks, stages, layout.data_parallel_size, layout.nodes
        if key not in self._linked:
            self._linked[key] = communication(self._work, layout, self._gpu, self._constants)
        return self._linked[key]

    def _spread(self, layout: Layout, *, measured: bool) -> tuple[LatencyBasis, Spread]:
        """How well the speed of a layout is known, and how far it may be off."""
        unseen = unmeasured_features(layout)
        basis: LatencyBasis = "measured" if measured else self._own.basis
        if self._name not in self._own.paths or unseen:
            basis = "datasheet"
        if (basis, unseen) not in self._spreads:
            spreads, more = self._constants.spreads, self._constants.unseen_feature_spread
            self._spreads[basis, unseen] = combined_spread(spreads[basis], more, unseen)
        return basis, self._spreads[basis, unseen]
