"""The largest load that servers may be asked for: never below what the limits and the width of a step allow."""

from vllm_opt.optimizer.contract.request import SolveRequest
from vllm_opt.optimizer.search.largest_load import largest_loads
from vllm_opt.optimizer.search.search import Search
from vllm_opt.optimizer.space.setting import resolve_solve
from vllm_opt.profiles.catalogues.catalog import Catalog


def largest(concurrency: int) -> set[int]:
    """Over the servers of one GPU, of which eight share the load; a step has 64 tokens."""
    asked = SolveRequest(
        model="Qwen/Qwen3-8B", gpu="h100-sxm", concurrency=concurrency, max_num_batched_tokens=64, max_gpus=8,
        target_context=1024, input_tokens=256, output_tokens=256, max_ttft_ms=600_000, max_tpot_ms=1000,
    )  # fmt: skip
    search = Search(resolve_solve(asked, Catalog()))
    servers = [one for one in search.servers.of(search.setting.gpus[0]) if one.shape.gpus == 1]
    assert {server.most for server in servers} == {8}
    return set(largest_loads(search.sizing, servers))


def test_a_batch_may_fill_a_step_with_one_token_each_and_no_more() -> None:
    assert min(largest(8 * 63)) >= 63
    assert min(largest(8 * 64)) >= 64
    assert largest(8 * 65) == {0}
