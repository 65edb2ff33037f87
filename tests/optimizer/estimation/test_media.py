"""Images by their size, videos, audio clips, and what encoding them costs the users of one engine."""

from typing import Any

import pytest

from vllm_opt.optimizer import EstimateRequest, estimate
from vllm_opt.optimizer.contract.answer import Estimate
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.errors import InvalidRequest

CATALOG = Catalog()


def _run(**fields: Any) -> Estimate:
    asked = {
        "model": "Qwen/Qwen3-VL-8B-Instruct", "gpu": "l40s", "vllm_version": "0.33", "max_model_len": 32768,
        "input_tokens": 500, "output_tokens": 200, "concurrency": 1, **fields,
    }  # fmt: skip
    return estimate(EstimateRequest(**asked), CATALOG)


def _prompt(**fields: Any) -> int:
    """Prompt tokens of the typical request beyond its 500 of text."""
    found = _run(**fields).performance
    assert found is not None
    return round(found.total_tokens_per_s / found.requests_per_s) - 200 - 500


def test_an_image_takes_tokens_by_its_area() -> None:
    """1,024 for 1024 x 1024; vLLM's processor makes 2,040 of 1920 x 1080, which the area says within 1 %."""
    assert _prompt(images_per_request=1) == 1024
    assert _prompt(images_per_request=1, image_size="1920x1080") == pytest.approx(2040, rel=0.01)
    assert _prompt(images_per_request=1, image_size="9000x9000") == 16_384
    assert _prompt(images_per_request=1, image_size="1920x1080", image_tokens=7) == 7


def test_videos_and_clips_are_prompt_tokens() -> None:
    assert _prompt(videos_per_request=0.5, video_tokens=3000) == 1500
    assert _prompt(videos_per_request=1) == 12_288
    assert _prompt(audios_per_request=2, audio_tokens=750) == 1500


def test_encoding_is_in_the_first_token_and_users_wait_for_each_other() -> None:
    texts = _run(input_tokens=500 + 1024).performance
    images = _run(images_per_request=1).performance
    crowd = _run(images_per_request=1, concurrency=16).performance
    plain = _run(input_tokens=500 + 1024, concurrency=16).performance
    assert texts is not None
    assert images is not None
    assert crowd is not None
    assert plain is not None
    assert images.ttft_ms > texts.ttft_ms
    assert images.tpot_ms == texts.tpot_ms
    assert plain.tpot_ms is not None
    assert crowd.tpot_ms is not None
    assert crowd.tpot_ms > plain.tpot_ms
    # In one cycle of 16 users 16 images are encoded, whoever waits for them.
    encoding = images.ttft_ms - texts.ttft_ms
    assert crowd.e2e_ms - plain.e2e_ms == pytest.approx(16 * encoding, rel=1e-6)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"image_size": "0x10"}, "WIDTHxHEIGHT"),
        ({"image_size": [1, 2, 3]}, "WIDTHxHEIGHT|one value"),
        ({"audios_per_request": 1}, "audio_tokens"),
        ({"videos_per_request": 1, "language_model_only": True}, "switched off"),
        ({"videos_per_request": float("nan")}, "videos_per_request"),
        ({"all2all_backend": "carrier_pigeon"}, "all2all_backend"),
    ],
)
def test_bad_input_is_one_sentence(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        _run(**fields)


def test_a_server_that_sleeps_needs_host_memory() -> None:
    found = _run(model="meta-llama/Llama-3.1-8B-Instruct", enable_sleep_mode=True)
    assert any("sleep mode" in note and "14.99 GiB" in note for note in found.notes)


def test_backends_that_send_batches_take_narrow_steps() -> None:
    fields = {"model": "Qwen/Qwen3-30B-A3B", "data_parallel_size": 4, "enable_expert_parallel": True, "gpu": "h100"}
    found = _run(**fields, all2all_backend="deepep_low_latency")
    assert found.request["max_num_batched_tokens"] == 256
    assert any("buffers" in note for note in found.notes)
    assert _run(**fields).request["max_num_batched_tokens"] == 8192
