"""Names as people write them: ids of checkpoints, endings, mirrors, former names, aliases, paths, and refusals."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.catalogues.models import load_model
from vllm_opt.profiles.catalogues.name_endings import ending_of
from vllm_opt.profiles.catalogues.suggestions import similar_models
from vllm_opt.profiles.errors import CannotBeSized, InvalidRequest, UnknownProfile, VllmOptError
from vllm_opt.profiles.nouns.model import ModelProfile

CATALOG = Catalog()


def stored(model: ModelProfile) -> str:
    return model.native_quantization.quantization if model.native_quantization else "bf16"


@pytest.mark.parametrize(
    ("name", "quantization", "shapes_of"),
    [
        ("Qwen/Qwen3-32B-AWQ", "awq", "Qwen/Qwen3-32B"),
        ("redhatai/qwen3-14b-quantized.w4a16", "w4a16", "Qwen/Qwen3-14B"),
        ("Qwen/Qwen3-8B-FP8", "fp8_block", "Qwen/Qwen3-8B"),
        ("nobody/Qwen3-8B-GPTQ-Int4", "gptq", "Qwen/Qwen3-8B"),
        ("nobody/Qwen3-8B-gptq-int8", "gptq_int8", "Qwen/Qwen3-8B"),
        ("nobody/Qwen3-4B.w4a16", "w4a16", "Qwen/Qwen3-4B"),
        ("nobody/Qwen3-1.7B-FP8-dynamic", "fp8", "Qwen/Qwen3-1.7B"),
        ("nobody/Qwen3-0.6B-NVFP4", "nvfp4", "Qwen/Qwen3-0.6B"),
        ("nobody/Llama-3.2-1B-Instruct-unsloth-bnb-4bit", "bitsandbytes", "meta-llama/Llama-3.2-1B-Instruct"),
        ("cyankiwi/gemma-3-12b-it-AWQ-4bit", "w4a16", "google/gemma-3-12b-it"),
        ("cpatonn/gemma-3-4b-it-AWQ-8bit", "int8_w8a16", "google/gemma-3-4b-it"),
        ("nobody/Meta-Llama-3.1-8B-Instruct", "bf16", "meta-llama/Llama-3.1-8B-Instruct"),
        ("meta-llama/Meta-Llama-3.1-70B-Instruct", "bf16", "meta-llama/Llama-3.1-70B-Instruct"),
        ("deepseek-ai/DeepSeek-R1-0528", "fp8_block", "deepseek-ai/DeepSeek-R1"),
        ("/mnt/models/meta-llama/Llama-3.1-8B-Instruct", "bf16", "meta-llama/Llama-3.1-8B-Instruct"),
        ("./weights/Qwen3-8B-AWQ", "awq", "Qwen/Qwen3-8B"),
        ("~nobody-here/models/Qwen3-8B", "bf16", "Qwen/Qwen3-8B"),
        ("/hub/models--Qwen--Qwen3-8B/snapshots/9c925d64", "bf16", "Qwen/Qwen3-8B"),
    ],
)
def test_a_name_leads_to_shapes_and_format(name: str, quantization: str, shapes_of: str) -> None:
    model, base = CATALOG.model(name), CATALOG.model(shapes_of)
    assert stored(model) == quantization
    assert (model.layer_kinds, model.layer_pattern) == (base.layer_kinds, base.layer_pattern)
    assert model.id.lower() == name.lower()
    if quantization != stored(base):
        assert model.checkpoints == ()
        assert model.quantized_from is not None


def test_a_known_name_says_nothing_and_a_guess_says_what_was_taken() -> None:
    assert not any("by its name" in text for text in CATALOG.model("Qwen/Qwen3-32B-AWQ").assumptions)
    assert (
        "is taken for Qwen/Qwen3-8B with nvfp4 weights, by its name"
        in (CATALOG.model("nobody/Qwen3-8B-FP4").assumptions[0])
    )
    assert "nothing was read at /x/Qwen3-8B: taken for Qwen/Qwen3-8B" in CATALOG.model("/x/Qwen3-8B").assumptions[0]


def test_a_config_at_the_path_wins_over_the_name(tmp_path: Path) -> None:
    folder = tmp_path / "Qwen3-8B"
    folder.mkdir()
    small = json.loads((Path(__file__).parents[3] / "profiles/data/models/Qwen--Qwen3-0.6B.json").read_text())
    (folder / "config.json").write_text(json.dumps(small["config"]))
    assert CATALOG.model(str(folder)).hidden_size == small["config"]["hidden_size"]
    (folder / "config.json").write_text('{"architectures": [')
    with pytest.raises(InvalidRequest):
        CATALOG.model(str(folder))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nobody/Qwen3-8B-GGUF", "GGUF"),
        ("Qwen3-8B-Q4_K_M.gguf", "GGUF"),
        ("mlx-community/Qwen3-8B-4bit", "MLX"),
        ("nobody/Qwen3-8B-exl2", "ExLlama"),
        ("QuantTrio/gemma-4-31B-it-AWQ-6Bit", "6-bit"),
        ("allenai/Molmo-7B-D-0924", "cannot be sized"),
    ],
)
def test_what_cannot_be_planned_says_why(name: str, reason: str) -> None:
    with pytest.raises(CannotBeSized, match=reason):
        CATALOG.model(name)


def test_every_published_checkpoint_resolves_to_its_format_or_says_that_its_base_has_no_config() -> None:
    resolved, said = 0, list[str]()
    for row in CATALOG.model_names.checkpoints.content["checkpoints"]:
        try:
            model = CATALOG.model(row["id"])
        except UnknownProfile as refusal:
            said.append(str(refusal))
            continue
        assert stored(model) == row["quantization"], row["id"]
        resolved += 1
    assert resolved > 800
    assert all("cannot be sized" in text or "generates none" in text for text in said)


def test_nearness_is_by_family_version_and_size() -> None:
    known = ("Qwen/Qwen3-8B", "Qwen/Qwen3-32B", "Qwen/Qwen2.5-7B", "google/gemma-3-12b-it", "mistralai/Mistral-7B-v0.1")
    assert similar_models("Qwen/Qwen3-9B", known) == "; did you mean 'Qwen/Qwen3-8B' or 'Qwen/Qwen3-32B'?"
    assert similar_models("google/gema-3-12b", known).startswith("; did you mean 'google/gemma-3-12b-it'")
    assert similar_models("zzz", known) == ""


def test_endings_that_two_publishers_use_for_two_formats() -> None:
    found = [ending_of(name) for name in ("Qwen/X-FP8", "RedHatAI/X-FP8", "nobody/X-FP8", "nobody/X")]
    assert [item.quantization if item else None for item in found] == ["fp8_block", "fp8_per_tensor", "fp8", None]


def outcome(name: str) -> str:
    """The format of the model that a name leads to, or the sentence that says why it leads to none."""
    try:
        return stored(load_model(name, CATALOG.model_names))
    except VllmOptError as error:
        return str(error)


@settings(deadline=None)
@given(st.text(max_size=80))
def test_no_name_ends_in_anything_but_a_model_or_a_sentence(name: str) -> None:
    said = outcome(name)
    assert said
    assert "\n" not in said


@settings(deadline=None)
@given(st.sampled_from(("-AWQ", "-GPTQ-Int4", "-FP8", ".w4a16", "-bnb-4bit", "-NVFP4")), st.text(max_size=30))
def test_endings_on_any_base_are_handled(ending: str, base: str) -> None:
    assert "\n" not in outcome(base + ending)
