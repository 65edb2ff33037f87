"""`starts` and the confidence asked: what fits as a plain prediction may not start often enough."""

import pytest

from vllm_opt.optimizer import Estimate, EstimateRequest, estimate
from vllm_opt.profiles.catalogues.catalog import Catalog

CATALOG = Catalog()
GIB = 2**30


def _run(**fields: object) -> Estimate:
    return estimate(EstimateRequest(**fields), CATALOG)  # type: ignore[arg-type]


def test_a_roomy_start_is_sure_and_a_hopeless_one_is_not() -> None:
    roomy = _run(gpu="h100", max_model_len=8192).starts
    assert roomy is not None
    assert roomy.probability > 0.99
    assert roomy.available_bytes > roomy.needed_bytes
    hopeless = _run(model="meta-llama/Llama-3.1-70B-Instruct", gpu="h100", max_model_len=8192)
    assert hopeless.starts is not None
    assert hopeless.starts.probability < 0.01
    assert not hopeless.fits


def test_the_probability_falls_as_the_context_grows_and_fits_follows_the_confidence() -> None:
    """Near the limit there is a context that half of the starts would hold: it fits at 0.5 and not at 0.99."""
    loose, strict = (_run(gpu="l4", max_model_len=2048, confidence=share) for share in (0.5, 0.99))
    longest, surest = loose.memory.max_supported_model_len, strict.memory.max_supported_model_len
    assert longest is not None
    assert surest is not None
    assert longest > surest
    between = (longest + surest) // 2
    found = {share: _run(gpu="l4", max_model_len=between, confidence=share) for share in (0.5, 0.99)}
    assert found[0.5].fits
    assert not found[0.99].fits
    assert found[0.5].starts is not None
    assert found[0.99].starts is not None
    assert 0.5 <= found[0.5].starts.probability <= 0.99
    assert found[0.5].starts.probability == pytest.approx(found[0.99].starts.probability)
    (violation,) = (item for item in found[0.99].violations if item.rule == "memory_budget")
    assert violation.needed is not None
    assert violation.available is not None
    assert violation.needed > violation.available


def test_the_longest_context_at_a_confidence_is_one_that_fits() -> None:
    for share in (0.5, 0.9, 0.99):
        longest = _run(gpu="l4", max_model_len=2048, confidence=share).memory.max_supported_model_len
        assert longest is not None
        assert _run(gpu="l4", max_model_len=longest, confidence=share).fits
        assert not _run(gpu="l4", max_model_len=longest + 64, confidence=share).fits
