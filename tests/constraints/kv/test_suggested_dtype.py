"""What a refused fp8 cache suggests instead: bfloat16 from compute capability 8.0 on, where it exists."""

import pytest

from vllm_opt.constraints.decisions.violation import LayoutRefused
from vllm_opt.constraints.kv.attention_backends import FLASH_ATTN, TRITON_ATTN, TRITON_MLA
from vllm_opt.constraints.kv.dtype import check_native_fp8
from vllm_opt.profiles.catalogues.catalog import Catalog

A100 = Catalog().gpu("a100")


@pytest.mark.parametrize(
    ("capability", "suggested"), [((7, 0), "float16"), ((7, 5), "float16"), ((8, 0), "bfloat16"), ((8, 6), "bfloat16")]
)
@pytest.mark.parametrize("backend", [TRITON_ATTN, TRITON_MLA])
def test_the_dtype_that_the_card_has(capability: tuple[int, int], suggested: str, backend: object) -> None:
    gpu = A100.model_copy(update={"compute_capability": capability})
    with pytest.raises(LayoutRefused) as refused:
        check_native_fp8(backend, "fp8", gpu)  # type: ignore[arg-type]
    assert refused.value.violation.message.endswith(f"Re-run with --kv-cache-dtype {suggested}.")


def test_cards_with_fp8_and_other_backends_are_not_refused() -> None:
    check_native_fp8(TRITON_ATTN, "fp8", A100.model_copy(update={"compute_capability": (8, 9)}))
    check_native_fp8(FLASH_ATTN, "fp8", A100)
    check_native_fp8(TRITON_ATTN, "auto", A100)
