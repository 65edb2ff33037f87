"""EngineProfile: one vLLM release; which flags exist, their defaults, and how its start-up memory adds up."""

from functools import cached_property
from typing import Literal

from pydantic import Field

from vllm_opt.profiles.noun import Noun
from vllm_opt.profiles.nouns.startup_constants import StartupConstants, load_startup_memory


class FlagSpec(Noun):
    """One `vllm serve` flag of a release."""

    name: str = Field(description="without the leading dashes, e.g. 'max-model-len'")
    short: tuple[str, ...] = Field((), description="short and alternative spellings, dashes included")
    kind: Literal["bool", "int", "float", "str", "json", "human_int"] = "str"
    negatable: bool = Field(False, description="--no-<name> exists")
    negative: tuple[str, ...] = Field((), description="every spelling that switches a bool off, dashes included")
    takes_truth: bool = Field(False, description="a bool that also reads =true and =false: StoreBoolean up to 0.7")
    choices: tuple[str, ...] | None = None
    default: str | int | float | bool | None = None
    default_note: str = Field("", description="how the default depends on the GPU or on other flags")
    values: Literal["one", "many"] = "one"


class BatchDefaults(Noun):
    """Defaults of one hardware tier, first match wins (`engine/arg_utils.py:get_batch_defaults` in 0.33)."""

    min_memory_gib: float = Field(ge=0, description="tier applies from this total memory on")
    required_names: tuple[str, ...] = Field(
        (),
        description="device-name parts of which one must occur; empty: any device (0.8.0 to 0.8.4 name h100 and h200)",
    )
    excluded_names: tuple[str, ...] = Field((), description="device-name parts that fall to the next tier")
    excluded_capabilities: tuple[tuple[int, int], ...] = Field(
        (), description="CUDA capabilities that fall to the next tier (GB10 is 12.1)"
    )
    max_num_batched_tokens: int = Field(gt=0)
    max_num_seqs: int = Field(gt=0)


class GraphCapture(Noun):
    """Which batch sizes a release captures as CUDA graphs (`_set_cudagraph_sizes`, `_BATCH_SIZES_TO_CAPTURE`).

    Sizes are 1, 2, 4, then multiples of 8 below `coarse_from`, then multiples of `coarse_step`, up to
    min(max_size, sequences_factor x max_num_seqs, max_num_batched_tokens).
    """

    max_size: int = Field(512, gt=0, description="largest captured batch")
    max_size_capability_10: int = Field(512, gt=0, description="the same on CUDA capability 10.x")
    sequences_factor: int | None = Field(None, gt=0, description="None: max_num_seqs does not bound the list")
    bounded_by_batched_tokens: bool = Field(False, description="sizes above max_num_batched_tokens are dropped")
    coarse_from: int = Field(256, gt=0, description="from here on the step is coarse_step")
    coarse_step: int = Field(16, gt=0)
    full_graphs: bool = Field(False, description="decode batches are captured a second time as one full graph")


class EngineProfile(Noun):
    """One release. Version-dependent rules of memory planning are data here, never `if version` in the physics."""

    version: str
    engine: Literal["v0", "v1"]
    released: str | None = None
    interpolated: tuple[str, ...] = Field((), description="fields not read from this release's own source")
    sources: tuple[str, ...] = Field(min_length=1)
    flags: tuple[FlagSpec, ...]
    removed_flags: dict[str, str] = Field(default_factory=dict, description="flag -> what to use instead")
    gpu_memory_utilization: float = Field(gt=0, le=1)
    batch_defaults: tuple[BatchDefaults, ...]
    budget_rounding: Literal["ceil", "floor"] = Field(description="how total * utilization becomes bytes")
    graphs_in_budget: bool = Field(description="the CUDA-graph estimate is subtracted before the KV cache is sized")
    null_block_in_fit_check: bool = Field(description="start-up needs one block more than the longest request")
    sliding_window_in_flight: Literal["none", "one_batch", "concurrent_batches"] = Field(
        description="tokens in flight that a sliding window reserves per request"
    )
    printed_tokens: Literal["blocks_times_size", "blocks_over_groups", "concurrency_times_length"] = Field(
        description="how 'GPU KV cache size: N tokens' is computed"
    )
    hybrid_kv_cache: bool = Field(description="sliding-window and state layers have their own KV groups")
    hybrid_kv_cache_off_with: tuple[Literal["kv_events", "any_connector", "unsupported_connector"], ...] = Field(
        (),
        description="what turns those groups off: --kv-events-config (until 0.19), --kv-transfer-config with any "
        "connector (until 0.20), or with one that lacks SupportsHMA (`config/vllm.py:VllmConfig.__post_init__`)",
    )
    yarn_scales_context: bool = Field(
        True,
        description="the context under YaRN is original_max_position_embeddings x factor (until 0.29); otherwise "
        "max_position_embeddings must hold it (`config/model.py:_get_and_verify_max_len`, 0.33)",
    )
    state_blocks_cover_sequences: bool = Field(
        False,
        description="with full CUDA graphs, models with states refuse max_num_seqs above num_gpu_blocks (0.20 on, "
        "`config/compilation.py:resolve_cudagraph_mode_and_sizes`); before, captured sizes were capped in silence",
    )
    state_blocks_cover_captures: bool = Field(
        False,
        description="with full CUDA graphs, delta nets fail an assertion where more sequences are captured than the "
        "pool has blocks (0.11 to 0.16, `causal_conv1d_update`: num_cache_lines >= batch)",
    )
    default_block_size: int = Field(16, gt=0)
    block_size_choices: tuple[int, ...] | None = Field(None, description="None: any positive integer")
    kv_cache_dtypes: tuple[str, ...]
    swap_space: Literal["capacity", "no_effect", "absent"] = Field(description="what --swap-space does")
    default_swap_space_gib: float | None = None
    online_quantization: Literal["whole", "whole_and_copies", "streamed"] = Field(
        "streamed",
        description="what fp8 made at load holds at its peak: all 16-bit weights, these and the copies, or a layer",
    )
    kv_offloading: bool = Field(description="--kv-offloading-size exists")
    chunked_prefill_default: Literal["on", "off", "on_above_32k"]
    prefix_caching_default: bool
    prefix_caching_default_hybrid: bool
    async_scheduling_default: bool
    reads_cuda_graph_estimate_flag: str | None = Field(None, description="environment variable that switches it")
    max_graph_capture_size: int = Field(512, gt=0)
    graph_capture: GraphCapture = Field(GraphCapture(), description="sizes that are captured as CUDA graphs")
    quantizations: tuple[str, ...] = Field((), description="values that --quantization accepts")
    profiles_max_model_len: bool = Field(
        False, description="without chunked prefill the profile run feeds max_model_len tokens, at least 2048"
    )
    chunked_prefill_batched_tokens: int | None = Field(
        None, description="default max_num_batched_tokens with chunked prefill; None: the batch_defaults tier"
    )
    engine_switch: str | None = Field(None, description="environment variable that selects the other engine")
    kv_fit_check: Literal["groups", "layers", "pool_tokens"] = Field(
        "groups",
        description="what start-up compares with the pool: a longest request's blocks over all groups; the pages of "
        "each layer before grouping; or only that the pool holds max_model_len tokens",
    )
    attention_blocks: Literal["backend", "platform"] = Field(
        "backend", description="the block size follows from the chosen backend, or from a fixed table of the platform"
    )
    state_checkpoint_page: bool = Field(
        True, description="prefix caching takes one more state page per request where the mixer can export it"
    )
    latent_block_sizes: dict[int, int] = Field(
        default_factory=dict, description="with platform blocks: major CUDA capability -> block forced on MLA models"
    )
    latent_row_alignment_elements: int = Field(
        1, gt=0, description="one MLA cache row is padded to a multiple of so many elements (128 in 0.7.x)"
    )
    hybrid_chunked_local: bool = Field(
        True, description="chunked local attention has its own KV groups; otherwise it turns the hybrid manager off"
    )
    checkpoint_kv_cache_dtype: bool = Field(
        True, description="--kv-cache-dtype auto follows a ModelOpt checkpoint that asks for quantised keys and values"
    )
    startup_texts: Literal["v0", "0.8.5", "0.11", "0.19", "0.33"] = Field(
        "0.33", description="the wording of refusals at start-up, by the first release read that has it"
    )
    latent_expanded_head_dim: int | None = Field(
        None, gt=0, description="MLA models cache keys and values per head at this width; None: they cache the latent"
    )
    model_runner_v2: Literal["none", "listed", "listed_or_dense", "all"] = Field(
        "none", description="which generative models run on the V2 model runner by default"
    )
    model_runner_v2_architectures: tuple[str, ...] = Field((), description="the listed classes")
    model_runner_v2_estimates_graphs: bool = Field(
        True,
        description="the V2 model runner takes a graph estimate off the budget; 0.22 to 0.28 return 0 "
        "(`v1/worker/gpu/model_runner.py:profile_cudagraph_memory`)",
    )
    sampler_warmup_bytes_per_logit: int = Field(
        0,
        ge=0,
        description="bytes per sequence and word with which the V2 model runner warms its sampler up after a profile "
        "that leaves graphs and sampling parameters out (`v1/worker/gpu/warmup.py:warmup_kernels`)",
    )
    cold_compile: Literal["uncounted", "peak", "peak_and_kept"] = Field(
        "uncounted", description="what compiling at the first start adds to the profiled memory of the V2 model runner"
    )
    falls_back_to_v0: tuple[Literal["states", "capability_below_8"], ...] = Field(
        (),
        description="what the V1 release runs on V0 by default (`engine/arg_utils.py:_is_v1_supported_oracle`): models "
        "with recurrent states, GPUs below compute capability 8",
    )

    @cached_property
    def startup(self) -> StartupConstants:
        """The fitted start-up memory of this release, read once per profile."""
        return load_startup_memory().of(self.engine, self.version)
