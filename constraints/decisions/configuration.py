"""Layout, flags and Configuration: one full point of the decision space.

A `Layout` is the discrete, structural part (one Boolean of the CP-SAT model); `EngineFlags` are the integers that the
model decides under that Boolean; a `Configuration` is both, with the number of separate servers.
"""

from pydantic import Field

from vllm_opt.constraints.decisions.speculation import Speculation
from vllm_opt.profiles.noun import Noun


class MediaItems(Noun):
    """What requests may carry besides text, as the profile run of a server counts it."""

    item_tokens: int = Field(gt=0, description="encoder tokens of the largest item over all modalities that are on")
    items_per_prompt: int = Field(gt=0, description="how many of that item one prompt may hold")


class Adapters(Noun):
    """LoRA slots of every rank, as `--enable-lora` and its flags ask for them."""

    max_loras: int = Field(1, gt=0, description="adapters in one batch")
    max_lora_rank: int = Field(16, gt=0)
    max_cpu_loras: int = Field(1, gt=0, description="adapters kept in host memory")
    fully_sharded_loras: bool = False
    lora_target_modules: tuple[str, ...] = Field((), description="modules that take adapters; none: all that can")
    enable_moe_shared_loras: bool = Field(False, description="outer matrices of experts' adapters stored once a layer")
    enable_mixed_moe_lora_format: bool = Field(False, description="adapters of experts in both layouts at once")


class Layout(Noun):
    """One structural choice for one server."""

    gpu: str = Field(description="SKU id")
    tensor_parallel_size: int = Field(1, gt=0)
    pipeline_parallel_size: int = Field(1, gt=0)
    data_parallel_size: int = Field(1, gt=0, description="engine replicas inside one server")
    decode_context_parallel_size: int = Field(1, gt=0)
    expert_parallel: bool = False
    quantization: str = Field("bf16", description="id in the quantisation catalogue; the resolved one, never 'native'")
    checkpoint: str | None = Field(None, description="Hugging Face id to load; None: hypothetical")
    kv_cache_dtype: str = "auto"
    kv_cache_dtype_skip_layers: tuple[str, ...] = Field(
        (), description="layers whose cache stays 16-bit: numbers, or 'sliding_window' for every such layer"
    )
    attention_backend: str | None = Field(None, description="None: vLLM's own choice")
    block_size: int | None = Field(None, gt=0, description="None: what the attention backend resolves")
    enforce_eager: bool = False
    enable_prefix_caching: bool = True
    enable_chunked_prefill: bool = True
    async_scheduling: bool = True
    disable_hybrid_kv_cache_manager: bool = Field(False, description="windows keep every token, in one KV group")
    full_graphs: bool | None = Field(
        None, description="decode batches as one full CUDA graph; None: as the release does"
    )
    graph_sizes: tuple[int, ...] | None = Field(None, description="batch sizes to capture; None: as the release does")
    sparse_host_gib: float | None = Field(
        None, gt=0, description="host memory of HiSparseConnector, which keeps sparse latent rows there"
    )
    num_redundant_experts: int = Field(0, ge=0, description="copies of experts that EPLB adds over all ranks")
    speculation: Speculation | None = Field(None, description="None: no drafts")
    adapters: Adapters | None = Field(None, description="None: no LoRA")
    media: MediaItems | None = Field(None, description="None: text only, or images left out of profiling")
    nodes: int = Field(1, gt=0, description="servers' nodes that one engine spans")

    @property
    def gpus_per_engine(self) -> int:
        """GPUs of one engine: TP x PP."""
        return self.tensor_parallel_size * self.pipeline_parallel_size

    @property
    def gpus_per_server(self) -> int:
        """GPUs that one `vllm serve` uses: TP x PP x DP."""
        return self.gpus_per_engine * self.data_parallel_size


class EngineFlags(Noun):
    """The integer flags of one `vllm serve`."""

    gpu_memory_utilization: float = Field(gt=0, le=1)
    max_model_len: int = Field(gt=0, description="tokens")
    max_num_seqs: int = Field(gt=0, description="sequences per step")
    max_num_batched_tokens: int = Field(gt=0, description="tokens per step")
    num_gpu_blocks_override: int | None = Field(None, gt=0)
    kv_cache_memory_bytes: int | None = Field(None, gt=0)
    swap_space_gib: float | None = Field(None, ge=0)
    kv_offloading_size_gib: float | None = Field(None, ge=0)
    cpu_offload_gib: float = Field(0.0, ge=0)


class Configuration(Noun):
    """A layout, its flags and the number of separate servers."""

    layout: Layout
    flags: EngineFlags
    replicas: int = Field(1, gt=0)

    @property
    def gpu_count(self) -> int:
        """GPUs in all: replicas x TP x PP x DP."""
        return self.replicas * self.layout.gpus_per_server
