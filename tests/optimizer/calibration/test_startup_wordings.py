"""Start-up logs in the wording of each range of releases become the same figures."""

import json

import pytest

from vllm_opt.optimizer.calibration.startup_reader import LogReading, StartUp, read_log

V0_06 = """\
INFO 10-10 15:21:03 llm_engine.py:237] Initializing an LLM engine (v0.6.3.post1) with config: model='Qwen/Qwen2.5-7B', \
tokenizer='Qwen/Qwen2.5-7B', dtype=torch.bfloat16, max_seq_len=32768, tensor_parallel_size=2, \
pipeline_parallel_size=1, quantization=None, enforce_eager=False, kv_cache_dtype=auto, served_model_name=q
INFO 10-10 15:21:13 model_runner.py:1071] Loading model weights took 7.1216 GB
(VllmWorkerProcess pid=88) INFO 10-10 15:21:13 model_runner.py:1071] Loading model weights took 7.1218 GB
INFO 10-10 15:21:23 distributed_gpu_executor.py:57] # GPU blocks: 83,210, # CPU blocks: 9362
INFO 10-10 15:21:23 distributed_gpu_executor.py:61] Maximum concurrency for 32768 tokens per request: 40.63x
INFO 10-10 15:21:53 model_runner.py:1530] Graph capturing finished in 20 secs, took 0.31 GiB
"""
V0_066 = """\
INFO 01-10 15:21:03 llm_engine.py:234] Initializing an LLM engine (v0.6.6) with config: model="Qwen/Qwen2.5-7B", \
dtype=torch.bfloat16, max_seq_len=32768, tensor_parallel_size=1, quantization=None
INFO 01-10 15:21:33 worker.py:241] Memory profiling takes 4.20 seconds
INFO 01-10 15:21:33 worker.py:241] the current vLLM instance can use total_gpu_memory (79.10GiB) x \
gpu_memory_utilization (0.90) = 71.19GiB
INFO 01-10 15:21:33 worker.py:241] model weights take 14.25GiB; non_torch_memory takes 0.15GiB; PyTorch activation \
peak memory takes 4.35GiB; the rest of the memory reserved for KV Cache is 52.43GiB.
INFO 01-10 15:21:33 executor_base.py:76] # cuda blocks: 61357, # CPU blocks: 4681
"""
V1_08 = """\
INFO 05-10 15:21:03 [core.py:58] Initializing a V1 LLM engine (v0.8.5) with config: model='Qwen/Qwen2.5-7B', \
max_seq_len=32768, tensor_parallel_size=2, quantization=fp8
\x1b[1;36m(VllmWorker rank=0 pid=9)\x1b[0;0m INFO [model.py:1] Model loading took 3.9 GiB and 7.1 seconds
\x1b[1;36m(VllmWorker rank=1 pid=10)\x1b[0;0m INFO [model.py:1] Model loading took 4.1 GiB and 7.3 seconds
INFO 05-10 15:21:43 [kv_cache_utils.py:634] GPU KV cache size: 1,024,000 tokens
INFO 05-10 15:21:43 [kv_cache_utils.py:634] GPU KV cache size: 1,023,984 tokens
INFO 05-10 15:21:43 [kv_cache_utils.py:637] Maximum concurrency for 32,768 tokens per request: 31.25x
"""
V1_12 = """\
(APIServer pid=1) INFO 12-10 15:21:00 [api_server.py:1] vLLM API server version 0.12.0
(APIServer pid=1) INFO 12-10 15:21:00 [utils.py:1] non-default args: {'model': 'Qwen/Qwen2.5-7B', \
'max_model_len': 8192, 'tensor_parallel_size': 2, 'max_num_seqs': 64, 'kv_cache_dtype': 'fp8'}
(Worker_TP0 pid=8) INFO 12-10 15:21:33 [gpu_model_runner.py:1] Model loading took 7.1216 GiB memory and 7.1 seconds
(Worker_TP1 pid=9) INFO 12-10 15:21:33 [gpu_model_runner.py:1] Model loading took 7.1216 GiB memory and 7.2 seconds
(Worker_TP0 pid=8) INFO 12-10 15:21:43 [gpu_worker.py:1] Available KV cache memory: 60.20 GiB
(Worker_TP1 pid=9) INFO 12-10 15:21:43 [gpu_worker.py:1] Available KV cache memory: 59.98 GiB
(Worker_TP0 pid=8) INFO 12-10 15:21:53 [gpu_model_runner.py:1] Graph capturing finished in 5 secs, took 0.42 GiB
"""
V1_33 = """\
(EngineCore pid=7) INFO 11-10 15:21:00 [core.py:1] Initializing a V1 LLM engine (v0.33.0) with config: \
model='Qwen/Qwen2.5-7B', max_seq_len=8192, tensor_parallel_size=1, quantization=None
(EngineCore pid=7) INFO 11-10 15:21:33 [gpu_worker.py:1] Estimated CUDA graph memory: 0.75 GiB total
(EngineCore pid=7) INFO 11-10 15:21:33 [gpu_worker.py:1] Available KV cache memory: 51.00 GiB
(EngineCore pid=7) INFO 11-10 15:21:34 [kv.py:1] GPU KV cache size: 954,912 tokens, Maximum concurrency for 8,192 \
tokens per request: 116.57x
"""


def started(text: str) -> StartUp:
    """The one start of a log."""
    reading = read_log([text.encode()])
    (start,) = reading.starts
    return start


@pytest.mark.parametrize(
    ("text", "configuration", "figures"),
    [
        (
            V0_06,
            {"vllm_version": "0.6.3.post1", "engine": "v0", "tensor_parallel_size": 2, "max_model_len": 32768},
            {"weights_gib": 7.1218, "num_gpu_blocks": 83210, "max_concurrency": 40.63, "graph_gib": 0.31},
        ),
        (
            V0_066,
            {"engine": "v0", "tensor_parallel_size": 1, "gpu_memory_utilization": 0.9},
            {
                "weights_gib": 14.25, "non_torch_gib": 0.15, "activation_gib": 4.35, "kv_gib": 52.43,
                "total_gib": 79.10, "num_gpu_blocks": 61357,
            },
        ),
        (
            V1_08,
            {"engine": "v1", "vllm_version": "0.8.5", "quantization": "fp8"},
            {"weights_gib": 4.1, "kv_tokens": 1_023_984, "max_concurrency": 31.25},
        ),
        (
            V1_12,
            {"vllm_version": "0.12.0", "max_model_len": 8192, "max_num_seqs": 64, "kv_cache_dtype": "fp8"},
            {"weights_gib": 7.1216, "kv_gib": 59.98, "graph_gib": 0.42},
        ),
        (
            V1_33,
            {"vllm_version": "0.33.0", "max_model_len": 8192},
            {"graph_estimate_gib": 0.75, "kv_gib": 51.0, "kv_tokens": 954_912, "max_concurrency": 116.57},
        ),
    ],
    ids=["0.6", "0.6.6", "0.8", "0.12", "0.33"],
)  # fmt: skip
def test_every_wording_is_read(text: str, configuration: dict[str, object], figures: dict[str, float]) -> None:
    start = started(text)
    assert configuration.items() <= start.configuration.items()
    if "0.8.5" in text:  # lines of V1 0.8 name no rank where the pool is printed: the last of equal ranks stands
        assert start.figures["kv_tokens"] == 1_023_984
    assert figures.items() <= start.figures.items()
    assert start.configuration["model"] == "Qwen/Qwen2.5-7B"


def test_json_logs_say_the_same_as_plain_ones() -> None:
    for key in ("message", "msg", "log"):
        wrapped = "".join(json.dumps({"level": "info", key: line + "\n"}) + "\n" for line in V1_12.splitlines())
        assert started(wrapped).figures == started(V1_12).figures


def test_demand_is_the_largest_rank_and_supply_the_smallest() -> None:
    first, second = V1_12.split("(Worker_TP1 pid=9)", maxsplit=1)
    text = f"{first}(Worker_TP1 pid=9){second.replace('7.1216', '7.5', 1)}"
    assert started(text).figures["weights_gib"] == 7.5
    assert started(text).figures["kv_gib"] == 59.98


def test_two_starts_in_one_log_are_two() -> None:
    reading = read_log([(V1_12 + V1_33).encode()])
    assert [start.configuration["vllm_version"] for start in reading.starts] == ["0.12.0", "0.33.0"]
    assert [start.figures["kv_gib"] for start in reading.starts] == [59.98, 51.0]


def test_lines_about_memory_that_no_wording_reads_are_counted_and_shown() -> None:
    reading = read_log([(V1_33 + "worker frobnicated 3.2 GiB of scratch\nGET /v1/models 200\n").encode()])
    assert reading.not_understood == 1
    assert reading.examples == ["worker frobnicated 3.2 GiB of scratch"]
    assert reading.lines == 6


def test_what_is_kept_of_a_long_log_does_not_grow_with_it() -> None:
    busy = b"INFO: Avg generation throughput: 512.0 tokens/s, GPU KV cache usage: 12.1%\n" * 10_000
    reading = read_log([V1_33.encode(), *[busy] * 20])
    assert reading.lines == 4 + 200_000
    assert len(reading.starts) == 1
    assert reading.understood == 4
    noisy = read_log([b"weird 1 GiB\n" * 50_000])
    assert (noisy.not_understood, len(noisy.examples)) == (50_000, 5)


def test_many_starts_are_cut_and_counted() -> None:
    reading: LogReading = read_log([(V1_33 * 70).encode()])
    assert len(reading.starts) == 64
    assert reading.more_starts == 6
