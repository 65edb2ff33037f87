"""What compiling the model adds to the profile of a first start, where the embedding is part of what is compiled.

    peak >= E        E = ceil(vocab / 64) * 64 / TP * hidden * dtype bytes: a copy of the embedding table
    kept  = E        in releases that hold another one afterwards

vLLM compiles inside the profiled window, and Inductor times its kernels on tensors of the arguments' sizes, the
embedding table among them. Multimodal models hand embeddings in, so their table is not an argument. A later start finds
the compiled code and has that memory for its cache. Read off published starts: 0.27.0 with Qwen2.5-3B (E = 0.58 GiB)
takes 1.01 GiB more with CUDA graphs than in eager mode, of which 0.59 GiB are peak; 0.28.0 with Qwen3-32B-AWQ on two
cards (E = 0.72 GiB each) has 0.47 GiB more cache at its second start. Sources: vllm-project/vllm issues 54122 and
54383, pull requests 54209 and 54479.
"""

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.memory.activation_widths import model_dtype_bytes
from vllm_opt.constraints.memory.model_runner import runs_on_v2
from vllm_opt.profiles.nouns.engine import EngineProfile
from vllm_opt.profiles.nouns.model import ModelProfile
from vllm_opt.profiles.nouns.quantization import Quantization

VOCABULARY_MULTIPLE = 64


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
