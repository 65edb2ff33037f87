"""Files that are damaged, hostile or beside the point: one sentence each, never a crash."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from vllm_opt.optimizer.calibration.calibrate import calibrate
from vllm_opt.optimizer.calibration.reading import read_all
from vllm_opt.optimizer.calibration.request import CalibrateRequest
from vllm_opt.optimizer.calibration.sources import LARGEST_DOCUMENT_BYTES, files_of
from vllm_opt.optimizer.cli.main import main
from vllm_opt.profiles.errors import InvalidRequest

FILES: dict[str, bytes] = {
    "cut.json": b'{"model_id": "x", "median_ttft_ms": 12',
    "deep.json": b"[" * 100_000,
    "deep-object.json": b'{"results":' * 50_000,
    "empty.json": b"",
    "list.json": b'[1, null, [], {}, {"median_tpot_ms": {"a": 1}}]',
    "nan.json": b'{"median_tpot_ms": NaN, "mean_tpot_ms": Infinity, "max_concurrency": -1}',
    "huge.json": b'{"median_tpot_ms": 1e999, "tpot_ms": ' + b"9" * 4000 + b"}",
    "words.json": b'{"median_tpot_ms": "fast", "model_id": {"a": []}, "max_concurrency": [1, 2]}',
    "noise.log": bytes(range(256)) * 400,
    "long.log": b"GiB " * 2_000_000,
    "nul.csv": b"model,gpu,ttft_ms,tpot_ms\n\0\0,\0,1\n",
    "quote.csv": b'model,gpu,ttft_ms,tpot_ms\n"' + b"x" * 300_000,
    "numbers.log": b"Initializing a V1 LLM engine (v0.8.5) with config: model='Qwen/Qwen3-8B', max_seq_len=999999999\n"
    b"Model loading took 99999999999999999999999999 GiB and 1 seconds\nAvailable KV cache memory: -3 GiB\n",
    "half.log.gz": gzip.compress(b"Available KV cache memory: 5 GiB\n" * 5000)[:200],
    "not-gzip.gz": b"\x1f\x8bnonsense",
    "shell.log": b"non-default args: {'model': '$(rm -rf /)\x1b[31m'}\nModel loading took 1 GiB and 1 seconds\n",
}


@pytest.mark.parametrize("name", FILES)
def test_a_bad_file_is_reported_and_teaches_nothing(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(FILES[name])
    kept = tmp_path / "kept" / "ours.json"
    report = calibrate(CalibrateRequest(files=(str(tmp_path / name),), calibration_file=str(kept), gpu="h100-sxm"))
    assert not report.written
    assert not kept.exists()
    assert report.sources[0].used == 0
    assert report.sources[0].unused
    text = json.dumps(report.model_dump(mode="json"), allow_nan=False)
    assert "\x1b" not in text


def test_a_document_beyond_the_bound_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "detailed.json").open("wb") as stream:
        stream.write(b'{"median_tpot_ms": 9, "itls": [')
        stream.truncate(LARGEST_DOCUMENT_BYTES + 10)
    readings = read_all(files_of((str(tmp_path),)))
    assert "--save-detailed" in next(iter(readings.sources()[0].unused))


def test_a_bomb_in_gzip_is_read_in_pieces(tmp_path: Path) -> None:
    (tmp_path / "bomb.log.gz").write_bytes(gzip.compress(b"\0" * (48 << 20)))
    (source,) = read_all(files_of((str(tmp_path),))).sources()
    assert (source.kind, source.used) == ("startup log", 0)


def test_links_in_folders_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "secret.json").write_text('{"median_tpot_ms": 9}')
    (tmp_path / "a" / "link.json").symlink_to(tmp_path / "secret.json")
    (tmp_path / "a" / "loop").symlink_to(tmp_path / "a")
    assert files_of((str(tmp_path / "a"),)) == []


def test_missing_paths_are_one_sentence(tmp_path: Path, complaint: Callable[[], str]) -> None:
    assert main(["calibrate", str(tmp_path / "none.log")]) == 2
    assert complaint().startswith(f"there is no file or folder '{tmp_path}/none.log'")
    assert main(["calibrate", "a\0b"]) == 2
    assert "there is no file" in complaint()
    assert main(["calibrate"]) == 2
    complaint()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("{", "not JSON"),
        ("[]", "no calibration of this program"),
        ('{"schema": "vllm-opt/plan/1"}', "no calibration of this program"),
        ('{"schema": "vllm-opt/calibration/1", "gpus": [{"gpu": "h100-sxm", "points": -1}]}', "gpus.0.points"),
        (
            '{"schema": "vllm-opt/calibration/1", "gpus": [{"gpu": "h100-sxm", "speed": [{"points": 1, "factors": '
            '{"step": 1e9}}]}]}',
            "gpus.0.speed.0",
        ),
    ],
)
def test_a_file_that_is_no_calibration_is_neither_used_nor_overwritten(content: str, why: str, tmp_path: Path) -> None:
    place, log = tmp_path / "precious.json", tmp_path / "v.json"
    place.write_text(content)
    log.write_text('{"median_tpot_ms": 9}')
    with pytest.raises(InvalidRequest, match=why.replace(".", r"\.")):
        calibrate(CalibrateRequest(files=(str(log),), calibration_file=str(place)))
    assert place.read_text() == content
    assert main(["estimate", "--gpu", "h100", "--calibration-file", str(place)]) == 2
