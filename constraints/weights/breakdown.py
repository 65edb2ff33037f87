"""Parameters and bytes of a whole model by part, unsharded: what the latency model streams and multiplies."""

from pydantic import Field

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.weights.compressed_tensors import hyper_connection_head_parameters
from vllm_opt.constraints.weights.formats import storage_of_parts
from vllm_opt.constraints.weights.parameter_bytes import WeightTable
from vllm_opt.constraints.weights.pipeline_ends import padded_vocabulary
from vllm_opt.constraints.weights.shards import Shards, pads_for_hopper, tensor_bytes
from vllm_opt.constraints.weights.storage import HALF_BYTES, linear_bytes
from vllm_opt.constraints.weights.tensor import Role, WeightTensor
from vllm_opt.constraints.weights.tensors import layer_tensors
from vllm_opt.profiles.noun import Noun
from vllm_opt.profiles.nouns.model import Attention, DecoderLayer, Experts, ModelProfile
from vllm_opt.profiles.nouns.quantization import Quantization


class PartSize(Noun):
    """Parameters and stored bytes of one part, over all layers and ranks."""

    parameters: int = Field(0, ge=0)
    bytes: int = Field(0, ge=0, description="bytes with scales, as stored on one rank that holds everything")


class WeightBreakdown(Noun):
    """A model's weights by part. The parts add up to the whole; `one_routed_expert` is a share of `routed_experts`."""

    attention: PartSize = Field(description="attention and state-space projections, indexer included")
    dense_mlp: PartSize
    shared_experts: PartSize
    router: PartSize
    routed_experts: PartSize
    one_routed_expert: PartSize = Field(description="one expert of every expert layer")
    num_expert_layers: int = Field(ge=0)
    embedding: PartSize = Field(description="input embedding; a tied one counts here, not as output head")
    lm_head: PartSize = Field(description="output head; zero parameters when tied, its bytes are still read per step")
    norm: PartSize
    vision: PartSize


def weight_breakdown(model: ModelProfile, quantization: Quantization, gpu: str = "h100") -> WeightBreakdown:
    """Return parameters and bytes by part at TP 1, PP 1; the SKU id `gpu` decides how mxfp4 experts are padded."""
    table = WeightTable(model, quantization)
    layout = Layout(gpu=gpu, quantization=quantization.id)
    shards = Shards(1, 1, expert_parallel=False, hopper_padding=pads_for_hopper(layout, None))
    parameters: dict[str, int] = {}
    stored: dict[str, int] = {}
    for index, (kind, overrides) in enumerate(table.variants):
        layers = table.pattern.count(index)
        formats = storage_of_parts(model, quantization, overrides)
        for tensor in layer_tensors(model.layer_kinds[kind], model.hidden_size):
            part = _part_of(tensor.role)
            parameters[part] = parameters.get(part, 0) + layers * tensor.parameters
            stored[part] = stored.get(part, 0) + layers * tensor_bytes(tensor, formats, shards)
    sizes = {part: PartSize(parameters=parameters[part], bytes=stored[part]) for part in parameters}
    ends = _ends(model, quantization)
    empty = PartSize()
    return WeightBreakdown(
        attention=sizes.get("attention", empty),
        dense_mlp=sizes.get("dense_mlp", empty),
        shared_experts=sizes.get("shared_experts", empty),
        router=sizes.get("router", empty),
        routed_experts=sizes.get("routed_experts", empty),
        one_routed_expert=_one_expert(model, sizes.get("routed_experts", empty)),
        num_expert_layers=sum(isinstance(layer.feed_forward, Experts) for layer in model.layers),
        norm=_with_final_norm(model, sizes.get("norm", empty)),
        **ends,
    )


def _part_of(role: Role) -> str:
    return "attention" if role == "state_space" else role


def _one_expert(model: ModelProfile, routed: PartSize) -> PartSize:
    """Share of one expert: exact when all expert layers have equally many experts, as in every known model."""
    counts = {layer.feed_forward.num_experts for layer in model.layer_kinds if isinstance(layer.feed_forward, Experts)}
    if not counts:
        return PartSize()
    count = max(counts)
    return PartSize(parameters=routed.parameters // count, bytes=routed.bytes // count)


def _with_final_norm(model: ModelProfile, norm: PartSize) -> PartSize:
    extra = model.final_norm_parameters
    return PartSize(parameters=norm.parameters + extra, bytes=norm.bytes + extra * HALF_BYTES)


def _ends(model: ModelProfile, quantization: Quantization) -> dict[str, PartSize]:
    rows = model.vocab_size if model.runner == "transcription" else padded_vocabulary(model)
    table = model.vocab_size * model.hidden_size
    width = model.per_layer_embedding_width
    beside = model.extra_parameters + model.divided_parameters + width * (model.vocab_size + model.hidden_size)
    beside_bytes = (model.extra_parameters + model.divided_parameters + width * (rows + model.hidden_size)) * HALF_BYTES
    embedding = PartSize(parameters=table + beside, bytes=rows * model.hidden_size * HALF_BYTES + beside_bytes)
    head_format = storage_of_parts(model, quantization, ()).of("lm_head")
    tied = model.tie_word_embeddings or not model.has_lm_head
    head = PartSize(
        parameters=0 if tied else table,
        bytes=linear_bytes((rows,), model.hidden_size, head_format) if model.has_lm_head else 0,
    )
    vision = model.vision.parameters if model.vision else 0
    return {"embedding": embedding, "lm_head": head, "vision": PartSize(parameters=vision, bytes=2 * vision)}


def parameter_count(model: ModelProfile) -> int:
    """Return the parameters of the published model: decoder, embedding, output head unless tied, norms and vision.

    Multi-token-prediction layers are not part of a profile, nor are quantisation scales. A projection that vLLM
    allocates but the checkpoint lacks (values that reuse keys) is not counted.
    """
    layers = sum(
        _layer_parameters(kind, model.hidden_size) * model.layer_pattern.count(index)
        for index, kind in enumerate(model.layer_kinds)
    )
    table = model.vocab_size * model.hidden_size
    head = table if model.has_lm_head and not model.tie_word_embeddings else 0
    per_layer = model.per_layer_embedding_width * (model.vocab_size + model.hidden_size)
    vision = model.vision.parameters if model.vision else 0
    joined = hyper_connection_head_parameters(model.hyper_connections, model.hidden_size)
    beside = model.extra_parameters + model.divided_parameters + model.final_norm_parameters
    return layers + table + head + per_layer + joined + beside + vision


def active_parameter_count(model: ModelProfile) -> int:
    """Return the parameters that one text token uses: all but vision and the routed experts it does not pass."""
    idle = 0
    for index, kind in enumerate(model.layer_kinds):
        if isinstance(kind.feed_forward, Experts):
            routed = sum(t.parameters for t in _tensors(kind, model.hidden_size) if t.role == "routed_experts")
            experts = kind.feed_forward
            used = routed * experts.num_experts_per_tok // experts.num_experts
            idle += (routed - used) * model.layer_pattern.count(index)
    vision = model.vision.parameters if model.vision else 0
    return parameter_count(model) - vision - idle


def _tensors(layer: DecoderLayer, hidden_size: int) -> tuple[WeightTensor, ...]:
    return layer_tensors(layer, hidden_size)


def _layer_parameters(layer: DecoderLayer, hidden_size: int) -> int:
    total = sum(tensor.parameters for tensor in _tensors(layer, hidden_size))
    mixer = layer.mixer
    if isinstance(mixer, Attention) and mixer.keys_are_values and not mixer.shares_kv_cache:
        total -= hidden_size * mixer.num_key_value_heads * mixer.v_head_dim
    return total
