"""Which decoder layers each pipeline stage holds (vLLM 0.33 `distributed/utils.py:get_pp_indices`)."""


def stage_layers(num_hidden_layers: int, pipeline_parallel_size: int) -> tuple[range, ...]:
    """Return the layer indices of each pipeline stage.

    Every stage gets floor(layers / stages); the remainder goes one each to the stages before the last, counting
    backwards from the one before the last, because the last stage also holds the output head.

    Raises:
        ValueError: there are more stages than layers.
    """
    if pipeline_parallel_size > num_hidden_layers:
        raise ValueError(f"{pipeline_parallel_size} pipeline stages need at least as many layers as stages")
    base, remainder = divmod(num_hidden_layers, pipeline_parallel_size)
    sizes = [base] * pipeline_parallel_size
    for back in range(remainder):
        sizes[pipeline_parallel_size - 2 - back] += 1
    stages, start = [], 0
    for size in sizes:
        stages.append(range(start, start + size))
        start += size
    return tuple(stages)
