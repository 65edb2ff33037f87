"""What a platform does not document: said, and left to those who ask for it."""

import pytest

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.layouts.platforms import release_gap, undocumented
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.catalogues.platforms import platform_rows

CATALOG = Catalog()


@pytest.mark.parametrize(
    ("sku", "changes", "words"),
    [
        ("gaudi2", {"decode_context_parallel_size": 4}, "decode context parallelism"),
        ("gaudi3", {"pipeline_parallel_size": 2}, "under planned"),
        ("gaudi3", {"nodes": 2}, "over several nodes"),
        ("gaudi2", {"kv_cache_dtype": "fp8"}, "fp8_inc"),
        ("arc-pro-b60", {"expert_parallel": True}, "tensor and pipeline parallelism only"),
        ("mi300x", {"decode_context_parallel_size": 8}, "ROCM"),
        ("mi210", {"quantization": "fp8_block"}, "gfx94"),
    ],
)
def test_a_gap_is_said_with_its_source(sku: str, changes: dict[str, object], words: str) -> None:
    layout = Layout.model_validate({"gpu": sku, "tensor_parallel_size": 8} | changes)
    (found,) = undocumented(layout, CATALOG.gpu(sku))
    assert words in found.message
    assert "https://" in found.message


@pytest.mark.parametrize("sku", ["gaudi2", "gaudi3", "mi300x", "mi210", "arc-pro-b60", "h100-sxm"])
def test_plain_tensor_parallelism_is_documented_everywhere(sku: str) -> None:
    layout = Layout(gpu=sku, tensor_parallel_size=8, kv_cache_dtype="auto")
    assert list(undocumented(layout, CATALOG.gpu(sku))) == []


def test_what_is_asked_for_by_name_is_left_alone() -> None:
    layout = Layout(gpu="gaudi2", tensor_parallel_size=4, pipeline_parallel_size=2, quantization="mxfp8")
    asked = frozenset({"pipeline_parallel"})
    assert list(undocumented(layout, CATALOG.gpu("gaudi2"), asked, format_asked=True)) == []  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("version", "gap"), [("0.33", True), ("0.32.0", True), ("0.30", False), ("0.30.0", False), ("0.19.1", False)]
)
def test_releases_that_the_plugin_follows(version: str, gap: bool) -> None:
    engine = CATALOG.engine("0.33")[0].model_copy(update={"version": version})
    assert bool(release_gap(CATALOG.gpu("gaudi2"), engine)) == gap
    assert release_gap(CATALOG.gpu("h100-sxm"), engine) == ""


@pytest.mark.parametrize(
    ("sku", "version", "gap"),
    [
        ("b200", "0.8.5", True), ("rtx-5090", "0.7.3", True), ("gb300", "0.6.6", True), ("b200", "0.9", False),
        ("rtx-5090", "0.33", False), ("h200-sxm", "0.6.6", False), ("t4", "0.8.5", False),
    ],
)  # fmt: skip
def test_cards_that_are_younger_than_the_cuda_of_a_release(sku: str, version: str, gap: bool) -> None:
    said = release_gap(CATALOG.gpu(sku), CATALOG.engine(version)[0])
    assert bool(said) == gap
    assert ("0.9.0 are the first" in said) == gap


def test_every_card_off_cuda_has_a_platform_and_every_platform_its_cards() -> None:
    off_cuda = {gpu.id for gpu in CATALOG.gpus if gpu.compute_capability is None}
    assert set(platform_rows()) == off_cuda
