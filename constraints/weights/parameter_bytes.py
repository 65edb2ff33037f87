"""Weight bytes per rank, exactly as vLLM 0.33 allocates parameters before loading (its own `param_bytes`).

Per pipeline stage: the stage's decoder layers, and what `pipeline_ends` places beside them.
Computed per distinct kind of layer, never per layer. TP rank 0 is counted; it holds the most.
"""

from collections import Counter
from fractions import Fraction

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.decisions.pipeline_stages import stage_layers
from vllm_opt.constraints.decisions.speculation import has_mtp, mtp_kind, mtp_layer, mtp_modules
from vllm_opt.constraints.weights.adapters import adapter_bytes
from vllm_opt.constraints.weights.compressed_tensors import FLOAT_BYTES, hyper_connection_head_parameters
from vllm_opt.constraints.weights.drafts import (
    embedding_copy_bytes,
    mimo_mtp_layer_bytes,
    mtp_extra_bytes,
    shape_bytes,
)
from vllm_opt.constraints.weights.extras import buffer_bytes
from vllm_opt.constraints.weights.formats import layer_variants, native_format, storage_of_parts
from vllm_opt.constraints.weights.pipeline_ends import end_bytes, padded_vocabulary
from vllm_opt.constraints.weights.shards import Shards, pads_for_hopper, tensor_bytes
from vllm_opt.constraints.weights.storage import HALF_BYTES, StorageFormat
from vllm_opt.constraints.weights.tensor import Role, WeightTensor, whole
from vllm_opt.constraints.weights.tensors import layer_tensors
from vllm_opt.profiles.nouns.checkpoint import CheckpointQuantization
from vllm_opt.profiles.nouns.gpu import GpuProfile
from vllm_opt.profiles.nouns.model import Attention, DecoderLayer, LatentAttention, ModelProfile
from vllm_opt.profiles.nouns.quantization import Quantization

__all__ = ["WeightTable", "weight_bytes", "weight_extra_bytes"]


MODULE_TOLERANCE = Fraction(1, 400)
"""How near a count with the module that predicts ahead must come to a published size: three FP8 checkpoints of Qwen3.6
and Qwen3.8 do to 0.2 %, and Qwen3.8-27B-FP8 is then the 14.28 GiB per GPU that two ranks print (vllm-project/recipes
pull 810)."""
REPACKED_FORMATS = frozenset(("mxfp4",))
ATTENTION_WITHOUT_SCALES = frozenset(("JambaForCausalLM", "MiniMaxM3SparseForConditionalGeneration"))
"""Classes that do not hand the quantisation to their attention, so no KV-cache scales are allocated."""

WHOLE_SHARED_EXPERTS = frozenset((
    "DeepseekV2ForCausalLM", "DeepseekV3ForCausalLM", "DeepseekV32ForCausalLM", "DeepseekV4ForCausalLM",
    "GlmMoeDsaForCausalLM", "KimiK25ForConditionalGeneration", "KimiK3ForConditionalGeneration",
    "Qwen3NextForCausalLM", "Qwen3_5MoeForConditionalGeneration", "Llama4ForConditionalGeneration",
))  # fmt: skip
"""Classes that keep their shared experts whole on every rank with expert parallelism, TP and DP together
(`config/parallel.py:use_sequence_parallel_moe`, vLLM 0.33)."""

WHOLE_DENSE_MLP = frozenset(("KimiK3ForConditionalGeneration",))
"""Those of them whose dense layers do the same."""

MARLIN_EXPERTS = frozenset(("DeepseekV4ForCausalLM",))
"""Classes whose mxfp4 experts are padded to 128 and 256 on Hopper too (`oracle/mxfp4.py`, vLLM 0.33)."""


def weight_bytes(
    model: ModelProfile, quantization: Quantization, layout: Layout, gpu: GpuProfile | None = None
) -> tuple[int, ...]:
    """Return the bytes of all parameters on TP rank 0 of each pipeline stage.

    The native checkpoint's own mixture of formats applies when `quantization` is the one it is published in; any other
    format leaves embeddings, norms, routers and output head in 16 bits. A checkpoint whose published size is known
    never counts fewer bytes, one of unknown layers has a margin (`CheckpointQuantization`). `gpu` decides the padding
    of mxfp4 experts; without it the SKU id in `layout` tells the generation. For many layouts of one model build a
    `WeightTable` once.
    """
    return WeightTable(model, quantization).parameter_bytes(layout, gpu)


def weight_extra_bytes(
    model: ModelProfile, quantization: Quantization, layout: Layout, gpu: GpuProfile
) -> tuple[int, ...]:
    """Return bytes per stage beside the target's parameters: buffers, adapters, drafter, what loading adds to mxfp4.

    On compute capability 9 those are created with their inner width rounded to 64 and repacked for Marlin with widths
    of 128 and 256: gpt-oss-120b is created in 60.8 GiB and printed as 65.97 (vllm-project/vllm issue 23278); the
    Triton kernels of some releases end at 64.4 (issue 33155).
    """
    mxfp4 = quantization.id in REPACKED_FORMATS
    adapters = adapter_bytes(model, layout, mxfp4=mxfp4)
    buffers = _sums(buffer_bytes(model, quantization, layout, gpu), adapters)
    buffers = _sums(buffers, draft_bytes(model, quantization, layout, gpu))
    if not mxfp4 or not pads_for_hopper(layout, gpu):
        return buffers
    table = WeightTable(model, quantization)
    ampere = gpu.model_copy(update={"compute_capability": (8, 0)})
    created, repacked = table.parameter_bytes(layout, gpu), table.parameter_bytes(layout, ampere)
    return tuple(buffer + after - before for buffer, after, before in zip(buffers, repacked, created, strict=True))


def draft_bytes(model: ModelProfile, quantization: Quantization, layout: Layout, gpu: GpuProfile) -> tuple[int, ...]:
    """Return the bytes of the drafter per stage: on the last one; zeros without a drafter or with one of no weights."""
    before = (0,) * (layout.pipeline_parallel_size - 1)
    speculation, ranks = layout.speculation, layout.tensor_parallel_size
    if speculation is None:
        return (*before, 0)
    if speculation.shape is not None:
        return (*before, shape_bytes(speculation.shape, speculation.method, ranks))
    if speculation.model is not None and speculation.quantization is not None:
        alone = Layout(gpu=layout.gpu, tensor_parallel_size=ranks, quantization=speculation.quantization.id)
        return (*before, *weight_bytes(speculation.model, speculation.quantization, alone, gpu))
    if speculation.method != "mtp" or not has_mtp(model):
        return (*before, 0)
    modules = mtp_modules(model) * _mtp_bytes(model, quantization, layout, gpu)
    return (*before, modules + embedding_copy_bytes(model, layout, speculation))


def _mtp_bytes(model: ModelProfile, quantization: Quantization, layout: Layout, gpu: GpuProfile) -> int:
    """One module that predicts ahead, with its output head where it has one of its own."""
    ranks = layout.tensor_parallel_size
    extra = mtp_extra_bytes(model, ranks)
    if model.architecture.startswith("MiMoV2Flash"):
        return mimo_mtp_layer_bytes(model, ranks) + extra
    if mtp_layer(model) not in model.layer_kinds:
        return _compressed_mtp_bytes(model, quantization, layout, gpu)
    if model.architecture.startswith("Step3p7"):
        extra += padded_vocabulary(model) // ranks * model.hidden_size * HALF_BYTES
    table = WeightTable(model, quantization)
    return table.layer_bytes(table.last_variant_of(mtp_kind(model)), layout, gpu) + extra


def _compressed_mtp_bytes(model: ModelProfile, quantization: Quantization, layout: Layout, gpu: GpuProfile) -> int:
    """DeepSeek V4's module: a window layer, two projections H x H as attention is stored, three norms, and a joiner."""
    appended = {
        "layer_kinds": (*model.layer_kinds, mtp_layer(model)),
        "layer_pattern": (*model.layer_pattern, len(model.layer_kinds)),
    }
    table = WeightTable(model.model_copy(update=appended), quantization)
    hidden, variant = model.hidden_size, table.pattern[-1]
    shards = Shards(layout.tensor_parallel_size, 1, expert_parallel=False, hopper_padding=False)
    projection = WeightTensor("e_proj", "attention", "attention", (whole(hidden),), hidden)
    joined = hyper_connection_head_parameters(model.hyper_connections, hidden)
    return (
        table.layer_bytes(variant, layout, gpu)
        + 2 * table.bytes_of(projection, variant, shards)
        + 3 * hidden * HALF_BYTES
        + joined * FLOAT_BYTES
    )


def _sums(left: tuple[int, ...], right: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(one + other for one, other in zip(left, right, strict=True))


class WeightTable:
    """Weights of one (model, quantisation), prepared once; each layout then costs a few dozen additions."""

    def __init__(self, model: ModelProfile, quantization: Quantization) -> None:
        """Raises InvalidRequest when a part of the checkpoint is stored in a format without a storage rule."""
        self.model = model
        self.quantization = quantization
        self.variants, self.pattern = layer_variants(model, quantization)
        self._formats = [storage_of_parts(model, quantization, overrides) for _, overrides in self.variants]
        self._tensors = [layer_tensors(model.layer_kinds[kind], model.hidden_size) for kind, _ in self.variants]
        self._layer_bytes: dict[tuple[int, int, int, int, bool, int, int], int] = {}
        self._stage_counts: dict[int, tuple[Counter[int], ...]] = {}
        self._share: Fraction | None = None
        self._head: StorageFormat | None = None

    def parameter_bytes(self, layout: Layout, gpu: GpuProfile | None = None) -> tuple[int, ...]:
        """Return what `weight_bytes` returns."""
        counted = self._counted_bytes(layout, gpu)
        native = native_format(self.model, self.quantization)
        if native is None or not (native.stored_bytes or native.size_margin):
            return counted
        if self._share is None:
            self._share = self._published_share(native)
        factor = self._share
        return tuple(-(-stage * factor.numerator // factor.denominator) for stage in counted)

    def _published_share(self, native: CheckpointQuantization) -> Fraction:
        """How much larger the published weights are than the count of their format, at least 1.

        Every rank holds its share of what is larger, as of the rest: which layers it is in is not known.
        """
        if native.stored_bytes is None:
            return 1 + Fraction(native.size_margin).limit_denominator(1_000_000)
        whole_bytes = sum(self._counted_bytes(Layout(gpu="", quantization=self.quantization.id)))
        published = native.stored_bytes - self._idle_module_bytes(native.stored_bytes, whole_bytes)
        return max(Fraction(1), Fraction(published, whole_bytes))

    def _idle_module_bytes(self, stored_bytes: int, counted_bytes: int) -> int:
        """What of a published size is the module that predicts ahead, which a server without drafts does not load.

        Told by the size alone: count and module together are what is published. Where they are not (formats that leave
        parts in 16 bits, copies without the module), nothing is taken off.
        """
        if not has_mtp(self.model) or mtp_layer(self.model) not in self.model.layer_kinds:
            return 0
        variant = self.last_variant_of(mtp_kind(self.model))
        module = mtp_modules(self.model) * (self.layer_bytes(variant, Layout(gpu="")) + mtp_extra_bytes(self.model, 1))
        unexplained = stored_bytes - counted_bytes - module
        return module if abs(unexplained) <= MODULE_TOLERANCE * stored_bytes else 0

    def _counted_bytes(self, layout: Layout, gpu: GpuProfile | None = None) -> tuple[int, ...]:
        stages = layout.pipeline_parallel_size
        totals = [
            sum(count * self.layer_bytes(variant, layout, gpu) for variant, count in counts.items())
            for counts in self._counts(stages)
        ]
        ends = end_bytes(self.model, layout.tensor_parallel_size, stages, self._lm_head_format())
        return tuple(layers + end for layers, end in zip(totals, ends, strict=True))

    def layer_bytes(self, variant: int, layout: Layout, gpu: GpuProfile | None = None) -> int:
        """Return the bytes of one layer of a variant on TP rank 0."""
        ranks, data_ranks = layout.tensor_parallel_size, layout.data_parallel_size
        padded = pads_for_hopper(layout, gpu) and self.model.architecture not in MARLIN_EXPERTS
        redundant, half = layout.num_redundant_experts, _half_expert_multiple(gpu)
        key = (variant, ranks, data_ranks, int(layout.expert_parallel), padded, half, redundant)
        if key not in self._layer_bytes:
            shards = Shards(
                ranks,
                data_ranks,
                expert_parallel=layout.expert_parallel,
                hopper_padding=padded,
                whole_roles=_whole_roles(self.model),
                half_expert_multiple=half,
                redundant=redundant,
            )
            formats = self._formats[variant]
            kind = self.model.layer_kinds[self.variants[variant][0]]
            scalars = self._scalar_bytes(kind, formats.main)
            self._layer_bytes[key] = scalars + sum(
                tensor_bytes(tensor, formats, shards) for tensor in self._tensors[variant]
            )
        return self._layer_bytes[key]

    def bytes_of(self, tensor: WeightTensor, variant: int, shards: Shards) -> int:
        """Return the bytes of one more tensor, stored as that variant's parts are."""
        return tensor_bytes(tensor, self._formats[variant], shards)

    def last_variant_of(self, kind: int) -> int:
        """Return the last variant, in model order, of one kind of layer."""
        return next(variant for variant in reversed(self.pattern) if self.variants[variant][0] == kind)

    def _scalar_bytes(self, kind: DecoderLayer, main: StorageFormat) -> int:
        if self.model.architecture in ATTENTION_WITHOUT_SCALES or not isinstance(
            kind.mixer, Attention | LatentAttention
        ):
            return 0
        return main.attention_scalar_bytes(latent=isinstance(kind.mixer, LatentAttention))

    def _counts(self, stages: int) -> tuple[Counter[int], ...]:
        if stages not in self._stage_counts:
            ranges = stage_layers(len(self.pattern), stages)
            self._stage_counts[stages] = tuple(Counter(self.pattern[r.start : r.stop]) for r in ranges)
        return self._stage_counts[stages]

    def _lm_head_format(self) -> StorageFormat:
        if self._head is None:
            self._head = storage_of_parts(self.model, self.quantization, ()).of("lm_head")
        return self._head


def _whole_roles(model: ModelProfile) -> frozenset[Role]:
    if model.architecture in WHOLE_DENSE_MLP:
        return frozenset(("shared_experts", "dense_mlp"))
    return frozenset(("shared_experts",)) if model.architecture in WHOLE_SHARED_EXPERTS else frozenset()


def _half_expert_multiple(gpu: GpuProfile | None) -> int:
    """The 16-bit expert kernel of compute capability 10 pads a rank's inner width to 128 (vLLM 0.33 on a B200)."""
    major = gpu.compute_capability[0] if gpu is not None and gpu.compute_capability is not None else 0
    return 128 if major == 10 else 1
