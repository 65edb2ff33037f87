"""A SPEC.yaml and the options of `vllm-opt batch`: what is understood, and what is refused in one sentence."""

from pathlib import Path

import pytest

from vllm_opt.optimizer.batches.request import BatchRequest, objectives_of, read_batch_file, read_models_file
from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.nouns.workload_preset import WorkloadPreset, find_workload_preset, load_workload_presets


def spec(folder: Path, text: str) -> Path:
    file = folder / "spec.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def test_a_spec_holds_the_options_as_keys(tmp_path: Path) -> None:
    file = spec(
        tmp_path,
        "models: [Qwen/*, openai/gpt-oss-20b]\ngpu: l40s\nobjective: [cost, latency+gpus]\nmax_gpus: 4\n"
        "workload:\n  - chat\n  - {id: mail, input_tokens: 900, output_tokens: 100, target_context: 2K, "
        "concurrency: 7}\nprice: {l40s: 0.5}\n",
    )
    request = BatchRequest(**read_batch_file(file))
    assert request.models == ("Qwen/*", "openai/gpt-oss-20b")
    assert request.gpu == ("l40s",)
    assert request.objective == ("cost", "latency+gpus")
    assert request.price == (("l40s", 0.5),)
    mail = request.workload[1]
    assert isinstance(mail, WorkloadPreset)
    assert (mail.target_context, mail.concurrency, mail.objective) == (2048, 7, ("cost", "throughput"))


def test_the_example_is_understood() -> None:
    example = Path(__file__).resolve().parents[3] / "examples" / "batch.yaml"
    request = BatchRequest(**read_batch_file(example))
    assert request.objective == ("cost+throughput", "latency")
    assert len(request.workload) == 3


def test_an_empty_spec_asks_for_everything(tmp_path: Path) -> None:
    assert read_batch_file(spec(tmp_path, "")) == {}
    assert BatchRequest().models == ()
    assert len(BatchRequest().gpu) == 6


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("models: Qwen/*\ngpus: l40s\n", "'spec.yaml', line 2: unknown key 'gpus'; did you mean 'gpu' or"),
        ("models: Qwen/*\n\nmax_gpus: -3\n", "line 3: max_gpus: must be greater than 0"),
        ("jobs: 0\n", "line 1: jobs: must be greater than 0"),
        ("backend: spark\n", "line 1: backend: must be 'local' or 'ray'"),
        ("objective: [cost, speed]\n", "line 1: objective 'speed' is unknown"),
        ("confidence: .nan\n", "holds nan"),
        ("price: {l40s: -1}\n", "line 1: price"),
        ("gpu: []\n", "line 1: gpu must name at least one SKU"),
        ("gpu: local\n", "line 1: gpu 'local' differs from worker to worker"),
        ("- a\n- b\n", "must hold keys and values"),
        ("models: &a [x]\ngpu: *a\n", "anchors and aliases are not accepted"),
        ("models: !!python/object/apply:os.system [id]\n", "tags are not accepted"),
        ("models: [Qwen/*\n", "not valid YAML"),
        ("a: " + "[" * 40 + "]" * 40 + "\n", "nested deeper than 32 levels"),
        ("workload: {id: x, input_tokens: 9, output_tokens: 9, target_context: 10, concurrency: 1}\n", "line 1: "),
        ("workload: {id: ../x, input_tokens: 1, output_tokens: 1, target_context: 10, concurrency: 1}\n", "line 1: "),
        ("workload:\n  - chat\n  - {id: x, tokens: 9}\n", "line 3: workload: "),
        ("workload: {id: x, input_tokens: true, output_tokens: 1, target_context: 9, concurrency: 1}\n", "line 1: "),
        ("workload: []\nmodels: []\nobjective: 3\n", "line 3: objective"),
        ("models: {a: b}\n", "line 1: models"),
        ("1: x\n", "line 1: unknown key '1'"),
    ],
)
def test_what_a_spec_may_not_hold_is_named_with_its_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        read_batch_file(spec(tmp_path, text))
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 800


def test_objectives_are_joined_by_plus() -> None:
    assert objectives_of("Cost + throughput") == ("cost", "throughput")
    with pytest.raises(ValueError, match="did you mean 'latency'"):
        objectives_of("latenci")
    with pytest.raises(ValueError, match="names one twice"):
        objectives_of("cost+cost")


def test_an_address_needs_ray() -> None:
    with pytest.raises(InvalidRequest, match="address needs backend ray"):
        BatchRequest(address="ray://head:10001")
    assert BatchRequest(backend="ray", address="ray://head:10001").address == "ray://head:10001"


def test_a_models_file_holds_one_name_per_line(tmp_path: Path) -> None:
    file = tmp_path / "models.txt"
    file.write_text("# ours\nQwen/Qwen3-8B\n\n  openai/*  # all\n", encoding="utf-8")
    assert read_models_file(file) == ("Qwen/Qwen3-8B", "openai/*")
    file.write_text("# nothing\n", encoding="utf-8")
    with pytest.raises(InvalidRequest, match="names no model"):
        read_models_file(file)
    with pytest.raises(InvalidRequest, match="cannot read 'absent'"):
        read_models_file(tmp_path / "absent")
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidRequest, match="not a readable text file"):
        read_models_file(file)


NUMBERS = ("input_tokens", "output_tokens", "target_context", "concurrency")


@pytest.mark.parametrize("preset", load_workload_presets(), ids=lambda preset: preset.id)
def test_every_number_of_a_preset_has_a_source(preset: WorkloadPreset) -> None:
    given = preset.model_fields_set - {"id", "description", "sources"}
    assert given >= set(NUMBERS)
    assert set(preset.sources) == given
    for source in preset.sources.values():
        assert source.startswith(("https://", "choice: "))


def test_the_presets_are_the_six_that_people_ask_for() -> None:
    names = [preset.id for preset in load_workload_presets()]
    assert names == ["chat", "rag", "code", "long-context", "offline-batch", "agentic"]
    assert find_workload_preset("Long_Context", load_workload_presets()).target_context == 131072


def test_a_preset_is_clipped_to_the_models_context() -> None:
    agentic = find_workload_preset("agentic", load_workload_presets())
    clipped = agentic.within(100_000)
    assert clipped is not None
    assert (clipped.target_context, clipped.mean_context) == (100_000, 68_849)
    tight = agentic.within(68_849)
    assert tight is not None
    assert (tight.target_context, tight.mean_context) == (68_849, 68_849)
    assert agentic.within(68_848) is None
    assert agentic.within(131_072) == agentic
