"""What is held while 16-bit weights become 8-bit ones, release by release, and that solve, estimate and lint see it."""

import pytest

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.memory.ledger import memory_terms
from vllm_opt.optimizer.contract.request import EstimateRequest, SolveRequest
from vllm_opt.optimizer.estimation.estimate import estimate
from vllm_opt.optimizer.linter.lint import lint_command
from vllm_opt.optimizer.solver.solve import solve
from vllm_opt.profiles.catalogues.catalog import Catalog

CATALOG = Catalog()
LLAMA, MOE = CATALOG.model("meta-llama/Llama-3.1-8B-Instruct"), CATALOG.model("Qwen/Qwen3-30B-A3B")
SIXTEEN_BIT = 8_030_261_248 * 2
GIB = 1 << 30


def peak(model: object, version: str, quantization: str = "fp8", checkpoint: str | None = None, **sizes: int) -> tuple:
    """The peak of loading, per stage."""
    weights, gpu = CATALOG.quantization(quantization), CATALOG.gpu("h100")
    layout = Layout(gpu=gpu.id, quantization=quantization, checkpoint=checkpoint or model.id, **sizes)  # type: ignore[attr-defined]
    return memory_terms(model, weights, layout, CATALOG.engine(version)[0], gpu).load_peak  # type: ignore[arg-type]


@pytest.mark.parametrize("version", ["0.6.6", "0.8.5", "0.9", "0.10.2", "0.11"])
def test_older_releases_hold_the_16_bit_weights(version: str) -> None:
    assert peak(LLAMA, version) == (SIXTEEN_BIT,)


@pytest.mark.parametrize("version", ["0.16", "0.19", "0.33"])
def test_newer_releases_convert_layer_by_layer(version: str) -> None:
    assert peak(LLAMA, version) == ()


def test_stored_checkpoints_and_other_formats_have_no_peak() -> None:
    assert peak(LLAMA, "0.8.5", checkpoint="RedHatAI/Meta-Llama-3.1-8B-Instruct-FP8") == ()
    assert peak(LLAMA, "0.8.5", "bf16") == ()
    assert peak(LLAMA, "0.8.5", "bitsandbytes") == ()


def test_ranks_divide_the_peak() -> None:
    assert max(peak(LLAMA, "0.8.5", tensor_parallel_size=2)) < SIXTEEN_BIT * 0.51
    assert len(peak(LLAMA, "0.8.5", pipeline_parallel_size=2)) == 2


def test_the_release_that_took_more_than_16_bit_weights_do() -> None:
    """Pull request 32773: Qwen3-30B-A3B runs in bf16 on one 80 GB H100 and runs out of memory with online fp8."""
    assert peak(MOE, "0.11")[0] < 70 * 10**9 < 85 * 10**9 < peak(MOE, "0.13")[0] < 95 * 10**9
    fp8 = {"model": MOE.id, "gpu": "h100", "max_model_len": 4096, "max_num_seqs": 8, "vllm_version": "0.13"}
    assert estimate(EstimateRequest(**fp8, quantization="bf16")).fits
    assert not estimate(EstimateRequest(**fp8, quantization="fp8", quantize_at_load=True)).fits


@pytest.mark.parametrize(("version", "starts"), [("0.8.5", False), ("0.10.2", False), ("0.13", False), ("0.16", True)])
def test_every_question_sees_the_peak(version: str, starts: bool) -> None:
    """27.4 GB of 16-bit weights on a card of 22 GiB, which holds them easily in 8 bits."""
    asked = SolveRequest(
        model="allenai/OLMo-2-1124-13B", gpu="l4", gpus=1, target_context=4096, concurrency=1, quantization="fp8",
        hypothetical_checkpoints=False, vllm_version=version,
    )  # fmt: skip
    answer = solve(asked)
    assert (answer.status == "optimal") is starts
    if answer.explanation is not None:
        for item in answer.explanation.relaxations:
            better = solve(asked.replaced(**{item.change: item.to, **item.also}))
            assert better.status == "optimal", item
    line = "vllm serve allenai/OLMo-2-1124-13B --quantization fp8 --max-model-len 4096 --max-num-seqs 1"
    (command,) = lint_command(line, gpu="l4", vllm_version=version).commands
    assert command.starts is starts
    judged = estimate(
        EstimateRequest(
            model="allenai/OLMo-2-1124-13B",
            gpu="l4",
            max_model_len=4096,
            max_num_seqs=1,
            quantization="fp8",
            quantize_at_load=True,
            vllm_version=version,
        )
    )
    assert judged.fits is starts
    if not starts:
        assert judged.startup_log[-1].startswith("torch.OutOfMemoryError: ")
        assert judged.violations[0].rule == "memory_budget"
