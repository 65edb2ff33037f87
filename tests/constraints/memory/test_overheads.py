"""CUDA graphs, non-torch memory and what lies outside the budget."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.memory.overheads import (
    FittedBytes,
    GraphMemory,
    capture_sizes,
    context_and_communication,
    cuda_graphs,
    non_torch,
)
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.nouns.engine import GraphCapture

CATALOG = Catalog()
GIB = 1 << 30
LLAMA = "meta-llama/Llama-3.1-8B-Instruct"


def sizes(version: str, sequences: int, tokens: int = 8192, *, blackwell: bool = False) -> tuple[int, ...]:
    capture = CATALOG.engine(version)[0].graph_capture
    largest = capture.max_size_capability_10 if blackwell else capture.max_size
    return capture_sizes(capture, largest, sequences, tokens)


def graphs(version: str = "0.19.0", *, tp: int = 1, pp: int = 1, gpu: str = "h100-sxm") -> GraphMemory:
    layout = Layout(gpu=gpu, tensor_parallel_size=tp, pipeline_parallel_size=pp)
    return cuda_graphs(CATALOG.model(LLAMA), layout, CATALOG.engine(version)[0], CATALOG.gpu(gpu))


def overhead(version: str, gpu: str, *, tp: int = 1, pp: int = 1) -> tuple[FittedBytes, FittedBytes]:
    layout = Layout(gpu=gpu, tensor_parallel_size=tp, pipeline_parallel_size=pp)
    engine, sku = CATALOG.engine(version)[0], CATALOG.gpu(gpu)
    return non_torch(layout, engine, sku), context_and_communication(layout, engine, sku)


def test_capture_sizes_of_recent_releases() -> None:
    assert len(sizes("0.33.0", 256)) == 51  # as 0.19 logs print: PIECEWISE=51 (largest=512)
    assert sizes("0.33.0", 256)[-1] == 512
    assert sizes("0.33.0", 4) == (1, 2, 4, 8)
    assert sizes("0.33.0", 1) == (1, 2)
    assert sizes("0.33.0", 1024, 100)[-1] == 96
    assert sizes("0.33.0", 1024, blackwell=True)[-1] == 1024
    assert len(sizes("0.33.0", 1024, blackwell=True)) == 3 + 31 + 49


def test_capture_sizes_of_older_releases() -> None:
    assert len(sizes("0.10.2", 256)) == 67  # 1, 2, 4 and 8 to 512 in steps of 8
    assert sizes("0.8.5", 4)[-1] == 512  # not bounded by max_num_seqs
    assert len(sizes("0.6.6", 256)) == 35
    assert sizes("0.6.6", 256)[-1] == 256


def test_decode_batches_are_captured_twice_where_full_graphs_exist() -> None:
    capture = GraphCapture(sequences_factor=2, full_graphs=True)
    memory = GraphMemory(1000, 10, 1, capture, 512, 0.1)
    # sizes up to 16: 1, 2, 4, 8, 16; full graphs up to 8 sequences: 1, 2, 4, 8
    assert memory.bytes(8, 8192) == 1000 + (5 + 4) * 10 + 16 * 1
    assert memory.bytes_at(0.5, 8, 8192) == memory.bytes(8, 8192)
    assert memory.bytes_at(0.9, 8, 8192) == pytest.approx(1106 * (1 + 1.281552 * 0.1), abs=1)


@pytest.mark.parametrize(
    ("tp", "pp", "printed"), [(1, 1, 0.91), (2, 1, 0.76), (4, 1, 0.67), (1, 2, 0.65), (1, 4, 0.51)]
)
def test_graphs_of_llama_as_0_19_prints_them_on_h100(tp: int, pp: int, printed: float) -> None:
    assert graphs(tp=tp, pp=pp).bytes(1024, 8192) / GIB == pytest.approx(printed, rel=0.15)


@given(
    sequences=st.integers(1, 2048),
    extra=st.integers(0, 2048),
    tokens=st.integers(1, 16_384),
    more=st.integers(0, 16_384),
)
def test_graph_memory_never_falls_when_a_flag_rises(sequences: int, extra: int, tokens: int, more: int) -> None:
    assert GRAPHS.bytes(sequences, tokens) <= GRAPHS.bytes(sequences + extra, tokens + more)


def test_fitted_bytes_at_a_confidence() -> None:
    term = FittedBytes(bytes=1000, spread_bytes=100)
    assert term.at(0.5) == 1000
    assert term.at(0.9) == 1129  # 1000 + ceil(1.2816 x 100)
    assert term.at(0.1) == 1000


def test_non_torch_grew_with_0_18_and_with_nvlink() -> None:
    def non_torch_gib(version: str, gpu: str, tp: int = 1) -> float:
        return overhead(version, gpu, tp=tp)[0].bytes / GIB

    assert non_torch_gib("0.17.0", "h100-sxm") == pytest.approx(0.13, abs=0.02)
    assert non_torch_gib("0.19.0", "h100-sxm") == pytest.approx(0.25, abs=0.02)
    assert non_torch_gib("0.19.0", "h100-sxm", 2) == pytest.approx(2.09, abs=0.05)
    assert non_torch_gib("0.19.0", "l40s", 2) < 0.6
    assert non_torch_gib("0.19.0", "rtx-3090", 4) < 0.6  # the bridge joins two cards
    assert non_torch_gib("0.19.0", "gb10") > 1.0  # memory shared with the host


def test_context_lies_outside_the_budget() -> None:
    assert overhead("0.19.0", "h100-sxm")[1].bytes / GIB == pytest.approx(0.51, abs=0.03)
    assert overhead("0.19.0", "h100-sxm", tp=2)[1].bytes / GIB == pytest.approx(1.55, abs=0.1)


def test_graphs_of_hybrids_are_less_certain() -> None:
    gpu, (engine, _) = CATALOG.gpu("h100-sxm"), CATALOG.engine("0.33.0")
    hybrid = cuda_graphs(CATALOG.model("Qwen/Qwen3.5-9B"), Layout(gpu=gpu.id), engine, gpu)
    assert hybrid.relative_spread > 2 * GRAPHS.relative_spread


GRAPHS = graphs("0.33.0")
