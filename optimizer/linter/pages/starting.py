"""Rules about starting: what vLLM refuses once the flags are read, and what surrounds the command."""

from vllm_opt.optimizer.linter.pages.page import Page


class Batching(Page):
    """A step must be as wide as its sequences, and as a whole prompt where prompts are not cut.

    `max_num_batched_tokens` below `max_num_seqs`, or below `max_model_len` without chunked prefill, is refused.
    """

    fix = "--fix makes the smallest change that starts."


class Compatibility(Page):
    """Weight format, KV dtype, block size, release and GPU must go together.

    The refusal is vLLM's own sentence, for this GPU's compute capability and the model's heads.
    """

    fix = "--fix drops or changes the one flag that is to blame, where that loses no accuracy."


class ContextLength(Page):
    """max_model_len must not exceed what the model was made for."""

    fix = "--fix sets the model's limit."


class Divisibility(Page):
    """Parallel sizes must divide heads, vocabulary, widths and quantisation groups."""

    fix = "--fix sets the nearest size that divides, the number of GPUs given first."


class Environment(Page):
    """An environment variable has no effect or a surprising one."""

    levels = ("warning", "note")


class GpuCount(Page):
    """The GPUs given and TP x PP x DP differ.

    GPUs given are those of the container, of CUDA_VISIBLE_DEVICES, and of every node of a LeaderWorkerSet. Fewer than
    needed is an error unless nodes are joined by Ray or --nnodes; more leaves GPUs idle.
    """

    levels = ("error", "warning")


class MemoryBudget(Page):
    """Weights, activations, graphs and one longest request must fit in the budget.

    The same sum that `vllm-opt estimate` shows, and vLLM's own sentence. The changes that lift it are tried one by one.
    """

    fix = "--fix makes the first change that starts, unless it makes answers less exact or takes more GPUs."


class ModelByName(Page):
    """The model was recognised by its name."""

    levels = ("note",)


class NoModel(Page):
    """The command names no model."""

    levels = ("warning",)


class NotJudged(Page):
    """vLLM chooses kernels here whose rules are not known.

    With VLLM_ROCM_USE_AITER=1 AMD's own attention kernels are picked, which take block sizes that the others refuse.
    """

    levels = ("note",)


class NotModelled(Page):
    """The prediction leaves a feature out."""

    levels = ("note",)


class OneNode(Page):
    """One engine's ranks exceed a node, and the command does not say how to span several.

    From the release that has --nnodes, more ranks than local GPUs stop start-up unless `--nnodes` or
    `--distributed-executor-backend ray` is given; before it, Ray was chosen by itself.
    """

    levels = ("error", "warning")


class OtherHardware(Page):
    """The image is for other hardware than the GPU named.

    Images for CPUs, TPUs and other accelerators are read for their flags only.
    """

    levels = ("note", "warning")


class QuantizationWithoutCheckpoint(Page):
    """--quantization and what the checkpoint holds contradict each other.

    `--quantization awq` reads a checkpoint that is stored so; on 16-bit weights vLLM stops. The message names a
    checkpoint of this model in that format where one is known.
    """


class SharedMemory(Page):
    """A container with several ranks needs shared memory."""

    levels = ("warning",)


class StartupHeadroom(Page):
    """The CUDA context and communication buffers must fit outside the budget."""

    fix = "--fix lowers gpu_memory_utilization by the least that is enough."


class StartupMargin(Page):
    """vLLM starts by less than the prediction may be off."""

    levels = ("warning",)


class StateBlocks(Page):
    """With CUDA graphs, a model with recurrent states needs a block per sequence.

    vLLM stops when `max_num_seqs` exceeds the number of blocks in the pool.
    """

    fix = "--fix lowers max_num_seqs to the blocks that are sure, or raises gpu_memory_utilization."


class UnknownModel(Page):
    """The model is not in the catalogue."""

    levels = ("warning",)


PAGES: tuple[type[Page], ...] = (
    Batching, Compatibility, ContextLength, Divisibility, Environment, GpuCount, MemoryBudget, ModelByName, NoModel,
    NotJudged, NotModelled, OneNode, OtherHardware, QuantizationWithoutCheckpoint, SharedMemory, StartupHeadroom,
    StartupMargin, StateBlocks, UnknownModel,
)  # fmt: skip
