"""What compiling the model adds to the profile of a first start, where the embedding is part of what is compiled.

    peak >= E        E = ceil(vocab / 64) * 64 / TP * hidden * dtype bytes: a copy of the embedding table
    kept  = E        in releases that hold another one afterwards

vLLM compiles inside the profiled window, and Inductor times its kernels on tensors of the arguments' sizes, the
embedding table among them. Multimodal models hand embeddings in, so their table is not an argument. A later start finds
the compiled code and has that memory for its cache. Read off published starts: 0.27.0 with Qwen2.5-3B (E = 0.58 GiB)
takes 1.01 GiB more with CUDA graphs than in eager mode, of which 0.59 GiB are peak; 0.28.0 with Qwen3-32B-AWQ on two
cards (E = 0.72 GiB each) has 0.47 GiB more cache at its second start. Sources: vllm-project/vllm issues 54122 and
54383, pull requests 54209 and 54479.

    cold extra ~ log-normal(median = 220 * hidden / TP * min(T, 8 S) bytes, sigma = 1)         models with states

Off Hopper, recurrent layers run Triton kernels that are timed in the profile of a start whose compile cache is empty,
and what that takes is charged to the budget. Published: 8.6 GiB in each of three formats of Qwen3.8-27B at T = 8192 and
S = 1024 (vllm-project/recipes pull 831), 2.5 GiB at 2048 and 256 (1CatAI/1Cat-vLLM pull 518), "tens of GiB" and none
with the cache kept (issue 54122): all three sources with the default S. It goes with S: five starts with T = 8192 or
more and S of 1 to 8 show none (vllm-project/vllm pull 36599 says why Hopper is spared, and an H100 with 0.28.0 and
S = 1024 indeed lacks nothing, issue 49064). So it is in the chance to start, with 4 of 5 by the rule of succession, and
in no size.
"""

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.memory.activation_widths import model_dtype_bytes
from vllm_opt.constraints.memory.model_runner import runs_on_v2
from vllm_opt.profiles.nouns.engine import EngineProfile
from vllm_opt.profiles.nouns.gpu import GpuProfile
from vllm_opt.profiles.nouns.model import ModelProfile, StateSpace
from vllm_opt.profiles.nouns.quantization import Quantization

VOCABULARY_MULTIPLE = 64
TIMED_BYTES_PER_CHANNEL = 220
TOKENS_PER_SEQUENCE = 8
"""How many tokens go with a sequence in the defaults of vLLM, with which the effect was seen."""
HOPPER = 9
"""Major compute capability whose recurrent layers run kernels that are not timed; off CUDA nothing is known."""


def compile_peak_bytes(model: ModelProfile, quantization: Quantization, layout: Layout, engine: EngineProfile) -> int:
    """Floor of the activation peak of the stage that embeds; 0 where compiling is not known to matter."""
    counted = engine.cold_compile != "uncounted" and not layout.enforce_eager and model.runner == "generate"
    if not counted or model.vision is not None or not runs_on_v2(model, quantization, engine):
        return 0
    rows = -(-model.vocab_size // VOCABULARY_MULTIPLE) * VOCABULARY_MULTIPLE
    return -(-rows // layout.tensor_parallel_size) * model.hidden_size * model_dtype_bytes(model)


def compile_kept_bytes(model: ModelProfile, quantization: Quantization, layout: Layout, engine: EngineProfile) -> int:
    """What a first start still holds after compiling, inside the budget."""
    if engine.cold_compile != "peak_and_kept":
        return 0
    return compile_peak_bytes(model, quantization, layout, engine)


def timed_bytes_per_token(model: ModelProfile, layout: Layout, engine: EngineProfile, gpu: GpuProfile) -> int:
    """What timing the kernels of recurrent layers may add to a first start, per token of `timed_tokens`; else 0."""
    counted = engine.cold_compile != "uncounted" and not layout.enforce_eager
    if gpu.compute_capability is None or gpu.compute_capability[0] == HOPPER or not counted:
        return 0
    if not any(isinstance(kind.mixer, StateSpace) for kind in model.layer_kinds):
        return 0
    return TIMED_BYTES_PER_CHANNEL * model.hidden_size // layout.tensor_parallel_size


def timed_tokens(tokens: int, sequences: int) -> int:
    """The tokens that the size of what is timed goes with."""
    return min(tokens, TOKENS_PER_SEQUENCE * sequences)
