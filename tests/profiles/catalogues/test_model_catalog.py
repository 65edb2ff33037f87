"""Every catalogued model loads with the published number of parameters, or is refused for the recorded reason."""

import builtins
import json
from pathlib import Path
from typing import Any

import pytest

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.layouts.compatibility import violations
from vllm_opt.constraints.weights.breakdown import parameter_count
from vllm_opt.profiles.catalogues import checkpoints, model_names
from vllm_opt.profiles.catalogues import models as model_catalog
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.catalogues.models import load_model, model_ids
from vllm_opt.profiles.errors import InvalidRequest, UnknownProfile
from vllm_opt.profiles.reading import data_files

MODELS = data_files.DATA / "models"
PUBLISHED: dict[str, dict[str, Any]] = json.loads(
    (Path(__file__).parents[2] / "data/model_parameters.json").read_text()
)
QUANTIZATIONS = {row.id for row in Catalog().quantizations}


def entry(model_id: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((MODELS / (model_id.replace("/", "--") + ".json")).read_text())
    return loaded


def test_the_catalogue_holds_160_models_or_more() -> None:
    assert len(model_ids()) >= 160
    assert {file.stem for file in MODELS.glob("*.json")} - {"index"} == {i.replace("/", "--") for i in model_ids()}


@pytest.mark.parametrize("model_id", model_ids())
def test_a_model_loads_or_is_refused_for_the_recorded_reason(model_id: str) -> None:
    recorded = entry(model_id)
    assert recorded["id"] == model_id
    assert recorded["verification"]
    assert recorded["config_source"]
    if "refused" in recorded:
        with pytest.raises(UnknownProfile) as raised:
            load_model(model_id)
        assert str(raised.value).endswith(recorded["refused"])
        return
    model = load_model(model_id)
    assert model.id == model_id
    assert model.verification == recorded["verification"]
    assert (2048 if model.runner == "generate" else 448) <= model.max_model_len <= 10_485_760
    if model.native_quantization is not None:
        assert model.native_quantization.quantization in QUANTIZATIONS
    for checkpoint in model.checkpoints:
        assert checkpoint.quantization in QUANTIZATIONS
        assert checkpoint.source


@pytest.mark.parametrize("model_id", PUBLISHED)
def test_the_parameters_equal_the_published_total(model_id: str) -> None:
    """`hub_parameters` is the total of the Hub less what vLLM does not load; `why` explains any rest by name."""
    row = PUBLISHED[model_id]
    assert parameter_count(load_model(model_id)) == row["hub_parameters"] + row["beyond_hub"]
    assert (row["beyond_hub"] == 0) or row["why"]


def test_most_models_are_verified_exactly() -> None:
    exact = [row for row in PUBLISHED.values() if row["beyond_hub"] == 0]
    assert len(exact) >= 110


@pytest.mark.parametrize(
    ("model_id", "max_model_len", "default"),
    [
        ("meta-llama/Llama-3.1-8B-Instruct", 131072, None),
        ("Qwen/Qwen2.5-7B-Instruct", 32768, None),
        ("microsoft/Phi-3.5-mini-instruct", 131072, 4096),
        ("internlm/internlm2_5-7b-chat", 65536, None),
        ("google/gemma-3-27b-it", 131072, None),
        ("deepseek-ai/DeepSeek-V3", 163840, None),
        ("openai/gpt-oss-120b", 131072, None),
        ("LGAI-EXAONE/EXAONE-4.0-32B", 131072, None),
        ("nvidia/NVIDIA-Nemotron-3-Ultra-550B-A55B-BF16", 262144, None),
    ],
)
def test_context_limits_are_those_that_vllm_derives(model_id: str, max_model_len: int, default: int | None) -> None:
    model = load_model(model_id)
    assert (model.max_model_len, model.default_max_model_len) == (max_model_len, default)


@pytest.mark.parametrize(
    ("name", "model_id"),
    [
        ("llama-3.1-8b", "meta-llama/Llama-3.1-8B-Instruct"),
        ("LLAMA-3.1-8B", "meta-llama/Llama-3.1-8B-Instruct"),
        ("META-LLAMA/llama-3.1-8b-instruct", "meta-llama/Llama-3.1-8B-Instruct"),
        ("deepseek-v3", "deepseek-ai/DeepSeek-V3"),
        ("qwen3-235b", "Qwen/Qwen3-235B-A22B"),
        ("gpt-oss-20b", "openai/gpt-oss-20b"),
        ("  mixtral-8x7b ", "mistralai/Mixtral-8x7B-v0.1"),
    ],
)
def test_short_names_and_letter_case(name: str, model_id: str) -> None:
    assert load_model(name).id == model_id


def test_every_short_name_leads_to_a_model() -> None:
    index = json.loads((MODELS / "index.json").read_text())
    known = {*index["models"], *index["same_weight_shapes"]}
    assert all(name == name.lower() for name in index["names"])
    assert set(index["names"].values()) <= known
    assert set(index["same_weight_shapes"].values()) <= set(index["models"])


def test_a_checkpoint_with_the_same_shapes_takes_the_sizes_and_says_so() -> None:
    twin, base = load_model("meta-llama/Llama-3.3-70B-Instruct"), load_model("meta-llama/Llama-3.1-70B-Instruct")
    assert twin.id == "meta-llama/Llama-3.3-70B-Instruct"
    assert twin.layer_kinds == base.layer_kinds
    assert twin.max_model_len == base.max_model_len
    assert "context limit may differ" in twin.assumptions[0]
    assert (twin.context_of, base.context_of) == (base.id, None)
    assert not {checkpoint.id for checkpoint in twin.checkpoints} & {checkpoint.id for checkpoint in base.checkpoints}


def test_a_checkpoint_with_the_same_shapes_keeps_its_own_context_and_checkpoints() -> None:
    twin = load_model("qwen2.5-72b")
    assert twin.id == "Qwen/Qwen2.5-72B-Instruct"
    assert (load_model("Qwen/Qwen2.5-72B").max_model_len, twin.max_model_len) == (131072, 32768)
    assert ("Qwen/Qwen2.5-72B-Instruct-AWQ", "awq") in {(row.id, row.quantization) for row in twin.checkpoints}
    assert load_model("meta-llama/Meta-Llama-3-8B-Instruct").max_model_len == 8192
    assert load_model("Qwen/Qwen2.5-14B-Instruct-1M").max_model_len == 1_010_000
    assert load_model("deepseek-ai/DeepSeek-R1-Distill-Qwen-14B").max_model_len == 131072
    assert load_model("Qwen/Qwen2.5-Math-7B-Instruct").max_model_len == 4096
    assert load_model("Qwen/Qwen2.5-Math-7B-Instruct").context_of is None


def test_checkpoints_are_of_this_model_not_of_its_relatives() -> None:
    base = {row.id for row in load_model("meta-llama/Meta-Llama-3.1-8B").checkpoints}
    assert "RedHatAI/Meta-Llama-3.1-8B-FP8" in base
    assert not any("Instruct" in checkpoint for checkpoint in base)


def test_loading_one_model_reads_only_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    original = data_files.read_data_file

    def recorded(name: str) -> dict[str, Any]:
        read.append(name)
        return original(name)

    for module in (model_catalog, model_names, checkpoints):
        monkeypatch.setattr(module, "read_data_file", recorded)
    load_model("openai/gpt-oss-20b")
    assert [name for name in read if name.startswith("models/")] == [
        "models/index.json", "models/openai--gpt-oss-20b.json",
    ]  # fmt: skip
    assert len(read) == len(set(read)) == 4


def test_a_path_is_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = entry("meta-llama/Llama-3.1-8B-Instruct")["config"]
    folder = tmp_path / "my-model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    expected = load_model("llama-3.1-8b").layer_kinds
    monkeypatch.chdir(tmp_path)
    absolute, relative = str(folder), "./my-model"
    for name, shown in (
        (absolute, absolute), (str(folder / "config.json"), absolute), ("./my-model", relative), ("my-model", relative),
        ("my-model/config.json", relative), ("../" + tmp_path.name + "/my-model", f"../{tmp_path.name}/my-model"),
    ):  # fmt: skip
        model = load_model(name)
        assert model.layer_kinds == expected
        assert model.id == shown
        assert load_model(model.id).id == shown
    monkeypatch.chdir(folder)
    assert load_model(".").id == load_model("./config.json").id == load_model("config.json").id == "."
    assert load_model("..//my-model/").id == "../my-model"


def test_a_folder_that_is_called_like_a_catalogued_model_is_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = entry("meta-llama/Llama-3.1-8B-Instruct")["config"] | {"num_hidden_layers": 7}
    (tmp_path / "Qwen3-8B").mkdir()
    (tmp_path / "Qwen3-8B" / "config.json").write_text(json.dumps(config))
    monkeypatch.chdir(tmp_path)
    assert load_model("./Qwen3-8B").num_hidden_layers == 7
    assert load_model(load_model("./Qwen3-8B").id).num_hidden_layers == 7
    catalogued = load_model("Qwen3-8B")
    assert catalogued.id == "Qwen/Qwen3-8B"
    assert any("write ./Qwen3-8B for the folder" in note for note in catalogued.assumptions)


@pytest.mark.parametrize("name", ["a\nb", "a\rb", "a\x1b[31mb", "a\u2028b", "a\u202eb", "a\x85b", "a\tb"])
def test_a_path_that_no_line_can_show_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir()
    (tmp_path / name / "config.json").write_text(json.dumps(entry("meta-llama/Llama-3.1-8B-Instruct")["config"]))
    for spelled in (name, f"./{name}", str(tmp_path / name)):
        with pytest.raises(InvalidRequest, match=r"U\+00|U\+20") as raised:
            load_model(spelled)
        assert str(raised.value).isprintable()


def test_a_home_folder_that_nobody_has_is_one_sentence() -> None:
    with pytest.raises(InvalidRequest, match="home folder that this machine does not know"):
        load_model("~no-such-user-anywhere/x")


@pytest.mark.parametrize("name", ["", "   "])
def test_an_empty_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequest, match="empty"):
        load_model(name)


@pytest.mark.parametrize("name", ["llama-3.1-9b", "deepsek-v3", "x" * 100_000, "\0", "a/b/c", "../..", "a\nb"])
def test_an_unknown_name_is_one_sentence(name: str) -> None:
    with pytest.raises((UnknownProfile, InvalidRequest)) as raised:
        load_model(name)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 500


def test_a_near_name_is_suggested() -> None:
    with pytest.raises(UnknownProfile, match=r"did you mean 'llama-3\.1-8b'"):
        load_model("llama-3.1-9b")


def test_without_the_hub_extra_an_unknown_id_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def without_hub(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("huggingface_hub"):
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_hub)
    with pytest.raises(UnknownProfile, match=r"install vllm-opt\[hub\]"):
        load_model("some-org/Some-Model-7B")


def test_a_damaged_catalogue_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_files, "DATA", tmp_path)
    with pytest.raises(InvalidRequest, match="damaged"):
        load_model("llama-3.1-8b")


def test_an_architecture_that_vllm_dropped_says_so() -> None:
    assert load_model("baichuan2-7b").vllm_until == "0.23.0"
    assert load_model("llama-3.1-8b").vllm_until is None


def test_a_dropped_architecture_is_refused_by_later_releases_only() -> None:
    catalog = Catalog()
    model, gpu, bf16 = catalog.model("baichuan2-7b"), catalog.gpu("h100"), catalog.quantization("bf16")
    for version, loads in (("0.8.5", True), ("0.33.0", False)):
        engine, _ = catalog.engine(version)
        found = violations(model, bf16, Layout(gpu=gpu.id), engine, gpu)
        assert any("no longer loads BaichuanForCausalLM" in violation.message for violation in found) is not loads


def test_every_source_of_a_config_can_be_opened() -> None:
    assert [name for name in model_ids() if "https://" not in entry(name)["config_source"]] == []
