"""The catalogue as a whole: laziness, releases, damaged and hostile files."""

import json
from pathlib import Path

import pytest

from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.catalogues.engines import (
    EngineFile,
    choose_engine,
    engine_files,
    load_engine,
    release_after,
    release_after_series,
)
from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.reading import data_files

CATALOG = Catalog()
FILES = tuple(
    EngineFile(release, parts, engine, name)
    for release, parts, engine, name in (
        ((0, 6, 6), 3, "v0", "0.6.6"),
        ((0, 8, 5), 3, "v0", "0.8.5-v0"),
        ((0, 8, 5), 3, "v1", "0.8.5"),
        ((0, 19, 0), 2, "v1", "0.19"),
        ((0, 33, 0), 2, "v1", "0.33"),
    )
)


@pytest.mark.parametrize(
    ("version", "engine", "name", "noted"),
    [
        (None, None, "0.33", False),
        (None, "v1", "0.33", False),
        ("0.33.0", None, "0.33", False),
        ("0.33", None, "0.33", False),
        ("v0.19.0", None, "0.19", False),
        ("0.19.1rc1.dev316+g39", None, "0.19", False),
        ("0.8.5.post1", None, "0.8.5", False),
        ("0.8.5", "v0", "0.8.5-v0", False),
        ("0.9.2", "v0", "0.8.5-v0", True),
        ("0.7.3", None, "0.6.6", True),
        ("0.32.9", None, "0.19", True),
        ("0.34.0", None, "0.33", True),
        ("1.0", None, "0.33", True),
        ("main", None, "0.33", True),
        (" Nightly ", None, "0.33", True),
        ("0.1.dev19754+g3a0914114", None, "0.33", True),
        ("0.1.0", None, "0.6.6", True),
    ],
)
def test_a_release_maps_to_the_newest_profile_not_above_it(
    version: str | None, engine: str | None, name: str, noted: bool
) -> None:
    file, note = choose_engine(version, engine, FILES)  # type: ignore[arg-type]
    assert file.name == name
    assert (note is not None) == noted


def test_a_development_build_leads_to_the_next_release() -> None:
    def after(version: str | None, taken: str) -> str | None:
        return release_after(version, FILES, taken, "v1")

    assert after("0.19.1rc1.dev316+g39", "0.19") == "0.33"
    assert after("0.33.1rc1.dev2", "0.33") is None
    assert after("0.19.1", "0.19") is None
    assert after("0.1.dev19754+g3a0914114", "0.33") is None
    assert after(None, "0.33") is None


def test_a_version_of_two_numbers_may_be_a_build_of_main() -> None:
    def after(version: str | None, taken: str) -> str | None:
        return release_after_series(version, FILES, taken, "v1")

    assert [after(version, "0.19") for version in ("0.19", "v0.19", " 0.19 ")] == ["0.33"] * 3
    assert [after(version, "0.19") for version in ("0.19.0", "0.19.1rc1.dev3", "main", None)] == [None] * 4
    assert after("0.33", "0.33") is None


def test_the_note_says_which_profile_stands_in() -> None:
    assert choose_engine("0.34.1", None, FILES)[1] == (
        "vLLM 0.34.1 is newer than every profile here: flags, defaults and memory rules are those of 0.33, "
        "and may differ in that release"
    )
    assert "0.20.0 has no profile of its own" in str(choose_engine("0.20.0", None, FILES)[1])


@pytest.mark.parametrize("version", ["", "newest", "0", "0.x", "-0.33", "9" * 50 + ".1", "0." + "3" * 5000])
def test_a_version_that_cannot_be_read_is_refused(version: str) -> None:
    with pytest.raises(InvalidRequest, match=r"^vLLM version .{2,60} cannot be read; write it like"):
        choose_engine(version, None, FILES)


def test_a_release_older_than_every_profile_is_judged_by_the_oldest_and_says_so() -> None:
    file, note = choose_engine("0.5.4", None, FILES)
    assert (file.version, file.engine) == ("0.6.6", "v0")
    assert note is not None
    assert "vLLM 0.5.4 is older than every profile here" in note


def test_impossible_engines_are_refused() -> None:
    with pytest.raises(InvalidRequest, match=r"vLLM 0\.33 has no V0 engine, which left in 0\.11\.0"):
        choose_engine(None, "v0", FILES)
    with pytest.raises(InvalidRequest, match=r"vLLM 0\.6\.6 has no V1 engine"):
        choose_engine("0.6.6", "v1", FILES)
    with pytest.raises(InvalidRequest, match="engine must be 'v0' or 'v1'"):
        choose_engine("0.8.5", "v2", FILES)  # type: ignore[arg-type]


@pytest.mark.parametrize("file", engine_files(), ids=lambda file: file.name)
def test_every_engine_file_is_valid_and_named_after_its_content(file: EngineFile) -> None:
    profile = load_engine(file)
    assert profile.engine == file.engine
    assert profile.version == file.version
    assert profile.sources


def test_the_newest_release_is_the_default() -> None:
    newest, note = CATALOG.engine()
    assert newest.version == "0.33"
    assert note is None
    assert newest.gpu_memory_utilization == 0.92
    assert CATALOG.engine("0.33.0")[0] is newest


def test_nothing_is_read_before_it_is_asked_for(tmp_path: Path) -> None:
    catalog = Catalog(gpu_file=tmp_path / "missing.yaml", prices_file=tmp_path / "missing.json")
    assert catalog.quantization("fp8").id == "fp8"
    with pytest.raises(InvalidRequest, match=r"cannot read 'missing\.yaml'"):
        catalog.gpu("h100")
    with pytest.raises(InvalidRequest, match=r"cannot read 'missing\.json'"):
        _ = catalog.offers


@pytest.mark.parametrize("content", [None, "", "{", "[]"])
def test_a_damaged_installation_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    if content is not None:
        (tmp_path / "gpus.json").write_text(content)
    monkeypatch.setattr(data_files, "DATA", tmp_path)
    with pytest.raises(InvalidRequest, match=r"gpus\.json is damaged .*; install vllm-opt again"):
        _ = Catalog().gpus


@pytest.mark.parametrize(
    "name", ["gpus.json", "quantizations.json", "kv_cache_dtypes.json", "prices.json", "accelerator_map.json"]
)
def test_the_data_files_state_their_schema_and_no_private_place(name: str) -> None:
    text = (data_files.DATA / name).read_text(encoding="utf-8")
    assert json.loads(text)["schema"].startswith("vllm-opt/")
    for private in ("/work/", "/tmp/", "file://", "localhost"):
        assert private not in text


def test_a_hostile_gpu_file_is_one_sentence(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.yaml"
    bomb.write_text("a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\ngpus: *c\n")
    with pytest.raises(InvalidRequest, match=r"'bomb\.yaml', line 1: anchors and aliases are not accepted"):
        Catalog(gpu_file=bomb).gpu("h100")
