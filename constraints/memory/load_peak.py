"""What a GPU holds while weights are made 8-bit at load: older releases keep the 16-bit ones until the end.

    peak = 16-bit weights                                    "whole": up to 0.12
    peak = 16-bit weights + the 8-bit copies beside them     "whole_and_copies": 0.13 and 0.14

per pipeline stage, and it must fit beside the CUDA context, whatever `gpu_memory_utilization` says. Of the copies no
more is known here than the two totals: what is stored in both formats is counted once in each, so they take
`16-bit weights - final weights`, which is half of what was converted.

Sources: the warning in vLLM's documentation of the time (docs.vllm.ai/en/v0.5.5/quantization/fp8.html);
vllm-project/vllm pull request 29196 (November 2025: layers are converted as they fill, while the 16-bit tensors stay
referenced), issue 31805 and pull request 32773 (0.13.0 and 0.14.0 take more than 16-bit weights do), pull request 31914
(January 2026: 16-bit tensors exist one layer at a time). bitsandbytes and experts_int8 convert every tensor on its way
in (`model_loader/bitsandbytes_loader.py`, `layers/quantization/experts_int8.py` of 0.8.5), so they have no such peak.
"""

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.weights.parameter_bytes import WeightTable
from vllm_opt.profiles.nouns.engine import EngineProfile
from vllm_opt.profiles.nouns.gpu import GpuProfile
from vllm_opt.profiles.nouns.model import ModelProfile
from vllm_opt.profiles.nouns.quantization import Quantization

SIXTEEN_BIT = Quantization(
    id="bf16", title="16-bit", weight_bits=16, scale_granularity="none", compute="half", kernel_path="bf16"
)


def made_at_load(model: ModelProfile, quantization: Quantization, layout: Layout) -> bool:
    """Whether vLLM converts the model's own 16-bit checkpoint to 8-bit floating point while loading it."""
    return (
        model.native_quantization is None
        and layout.checkpoint == model.id
        and quantization.quantizes_at_load
        and quantization.compute == "fp8"
    )


def load_peak_bytes(
    model: ModelProfile, quantization: Quantization, layout: Layout, engine: EngineProfile, gpu: GpuProfile
) -> tuple[int, ...]:
    """Bytes of weights per stage at the peak of loading; empty where loading takes no more than what is loaded."""
    if engine.online_quantization == "streamed" or not made_at_load(model, quantization, layout):
        return ()
    source = WeightTable(model, SIXTEEN_BIT).parameter_bytes(layout, gpu)
    if engine.online_quantization == "whole":
        return source
    final = WeightTable(model, quantization).parameter_bytes(layout, gpu)
    return tuple(whole + max(0, whole - made) for whole, made in zip(source, final, strict=True))
