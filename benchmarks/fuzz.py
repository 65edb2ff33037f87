"""Long-run fuzzing of everything that reads text, from a corpus that grows.

    nice -n 10 python benchmarks/fuzz.py --inputs 1000000 --corpus fuzz-corpus [--only shell] [--seed 1]

Inputs are drawn from the corpus, then bytes and tokens are changed, repeated, cut and crossed. An input fails when a
reader raises anything but the one sentence of bad input, answers with NaN or Infinity, or takes longer than `--slow`
seconds of the processor. Bodies go through the web application in process, command lines through the command line's own
`main`; both fail at a 5xx, exit code 70 or a traceback. Cheap readers are drawn more often than dear ones: see SHARES.

What fails is written to CORPUS/failures/KIND-DIGEST; what is read at all, and differs in shape from what is there, is
added to CORPUS/KIND. Exit code 1 when anything failed. The corpus of the tests is tests/data/fuzz_corpus.
"""

import asyncio
import contextlib
import hashlib
import io
import json
import os
import random
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import click
import httpx

from vllm_opt.optimizer.calibration.startup_reader import read_log
from vllm_opt.optimizer.cli.main import main as command_line
from vllm_opt.optimizer.contract.length_file import read_lengths
from vllm_opt.optimizer.contract.request import EstimateRequest, SolveRequest
from vllm_opt.optimizer.linter.lint import lint
from vllm_opt.optimizer.linter.subject.request import LintRequest
from vllm_opt.optimizer.procurement.demand_file import read_demand
from vllm_opt.optimizer.web.app import create_app
from vllm_opt.optimizer.web.metrics import Metrics
from vllm_opt.optimizer.web.prepared import Prepared
from vllm_opt.optimizer.web.settings import WebSettings
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.configs.huggingface import model_from_config
from vllm_opt.profiles.configs.reader import parse_config
from vllm_opt.profiles.errors import InvalidRequest, VllmOptError
from vllm_opt.profiles.reading.user_files import parse_user_text

SEEDS = Path(__file__).resolve().parents[1] / "tests" / "data" / "fuzz_corpus"
CATALOG = Catalog()
TOKENS = (
    "{", "}", "[", "]", '"', "'", "\\", "$", "`", "$(", "&&", "|", "\n", "\r\n", "\t", "\0", "\x1b", "\u2028", "\u202e",
    "-1", "0", "1e309", "NaN", "Infinity", "null", "true", "&a", "*a", "<<:", "---", "!!python/object:os.system", "#",
    "--", "=", ":", ",", "9" * 30, "é", "\ud83d", "%n", "~", "../", "<script>", "<<EOF", "-" * 50, "[" * 200,
    '{"a":' * 50,
)  # fmt: skip


def _config(data: bytes, folder: Path) -> object:  # noqa: ARG001
    return model_from_config(parse_config(data, "config.json"), "fuzz")


def _yaml(data: bytes, folder: Path) -> object:
    text = data.decode("utf-8", "replace")
    parse_user_text(text, "file.yaml")
    file = folder / "demand.yaml"
    file.write_text(text, encoding="utf-8", newline="")
    return read_demand(str(file), None)


def _shell(data: bytes, folder: Path) -> object:
    file = folder / "run.sh"
    file.write_bytes(data)
    return lint(LintRequest(file=str(file), gpu="h100", optimum=False, fix="all"), CATALOG)


def _compose(data: bytes, folder: Path) -> object:
    file = folder / "compose.yaml"
    file.write_bytes(data)
    return lint(LintRequest(file=str(file), gpu="h100", optimum=False), CATALOG)


def _log(data: bytes, folder: Path) -> object:  # noqa: ARG001
    return read_log(iter([data]))


def _lengths(data: bytes, folder: Path) -> object:
    file = folder / "lengths.jsonl"
    file.write_bytes(data)
    return read_lengths(str(file))


def _requests(data: bytes, folder: Path) -> object:  # noqa: ARG001
    last: object = None
    for line in data.decode("utf-8", "replace").splitlines()[:50]:
        try:
            fields = json.loads(line)
        except (ValueError, RecursionError):
            continue
        for kind in (SolveRequest, EstimateRequest):
            if isinstance(fields, dict) and all(isinstance(key, str) for key in fields):
                try:
                    last = kind(**fields)
                except VllmOptError:
                    continue
    return last


class _InProcess:
    """Stands for the pool of worker processes: what a worker runs, runs here."""

    inside = 0

    async def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return function(*arguments)


@cache
def _server() -> tuple[asyncio.AbstractEventLoop, httpx.AsyncClient]:
    settings = WebSettings(longest_s=1.0)
    app = create_app(settings)
    app.state.pool = _InProcess()
    app.state.metrics = Metrics(app.state.pool)
    app.state.prepared = Prepared(app.state.pool, settings)
    address = "http://127.0.0.1:8600"
    client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=address, headers={"Origin": address})
    return asyncio.new_event_loop(), client


def _http(data: bytes, folder: Path) -> object:  # noqa: ARG001
    """The first line is the path, the rest the body."""
    line, _, body = data.partition(b"\n")
    path = "/" + line.decode("ascii", "replace").strip().lstrip("/")
    loop, client = _server()
    try:
        request = client.build_request("POST", path, content=body, headers={"Content-Type": "application/json"})
    except httpx.InvalidURL:
        raise InvalidRequest("no address") from None
    answer = loop.run_until_complete(client.send(request))
    if answer.status_code >= 500:
        raise AssertionError(f"{answer.status_code} {answer.text[:300]}")
    if answer.status_code >= 400:
        raise InvalidRequest(answer.json()["error"])
    if answer.headers["content-type"] == "application/json":
        json.loads(answer.text, parse_constant=_no_constant)
    return answer.text


def _no_constant(name: str) -> object:
    raise AssertionError(f"{name} in JSON")


def _command(data: bytes, folder: Path) -> object:
    """Each line is one word, in a folder of its own."""
    words = [line for line in data.decode("utf-8", "surrogateescape").replace("\0", "").splitlines() if line][:40]
    if words[:1] not in (["estimate"], ["lint"], ["gpus"], ["models"], ["prices"], ["quality"], ["explain"]):
        raise InvalidRequest("verbs that serve, write or search for long are asked elsewhere")
    said, printed, before = io.StringIO(), io.StringIO(), Path.cwd()
    os.chdir(folder)
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(printed):
            code = command_line(words)
    finally:
        os.chdir(before)
    if code not in (0, 1, 2, 3) or "Traceback" in said.getvalue():
        raise AssertionError(f"exit code {code}: {said.getvalue()[:300]}")
    if code == 2:
        raise InvalidRequest(" ".join(said.getvalue().split()))
    return printed.getvalue()


READERS: dict[str, Callable[[bytes, Path], object]] = {
    "config": _config, "yaml": _yaml, "shell": _shell, "compose": _compose, "log": _log, "lengths": _lengths,
    "requests": _requests, "http": _http, "command": _command,
}  # fmt: skip
SHARES = {
    "requests": 560, "config": 330, "lengths": 95, "log": 5, "yaml": 4, "http": 2.5, "command": 2.5, "compose": 0.5,
    "shell": 0.5,
}  # fmt: skip
"""Inputs of each kind in a thousand: all take about as much of the processor."""


def mutated(chance: random.Random, data: bytes, others: list[bytes]) -> bytes:
    """Change an input a few times."""
    for _ in range(chance.randint(1, 5)):
        at = chance.randint(0, len(data))
        end = min(len(data), at + chance.randint(0, 30))
        how = chance.randint(0, 5)
        if how == 0:
            data = data[:at] + chance.choice(TOKENS).encode("utf-8", "surrogatepass") + data[at:]
        elif how == 1:
            data = data[:at] + data[end:]
        elif how == 2:
            data = data[:at] + bytes(chance.randrange(256) for _ in range(chance.randint(1, 4))) + data[end:]
        elif how == 3:
            data = data[:end] + data[at:end] * chance.choice((1, 2, 50)) + data[end:]
        elif how == 4:
            other = chance.choice(others)
            data = data[:at] + other[chance.randint(0, len(other)) :]
        else:
            data = data[:at] + chance.choice(TOKENS).encode("utf-8", "surrogatepass") + data[end:]
    return data[:200_000]


def fault(kind: str, data: bytes, folder: Path, slow: float) -> tuple[str | None, str]:
    """What is wrong with how an input is read, if anything; and the shape of what came out."""
    started = time.process_time()
    try:
        found = READERS[kind](data, folder)
        shape = type(found).__name__ + hashlib.sha256(repr(found)[:400].encode("utf-8", "replace")).hexdigest()[:2]
        dump = getattr(found, "model_dump_json", None)
        if (
            dump is not None
            and kind != "requests"
            and any(word in dump() for word in (":NaN", ":Infinity", ":-Infinity"))
        ):
            return "a number that JSON has not", shape
    except VllmOptError as error:
        said = str(error)
        shape = said.split("'", maxsplit=1)[0][:40]
        if "\n" in said or len(said) > 4000:
            return f"no one sentence: {said[:200]!r}", shape
    except Exception:  # whatever a hostile input raises is a finding, and the run goes on
        return traceback.format_exc(limit=-3), "fault"
    took = time.process_time() - started
    return (f"{took:.1f} s for {len(data)} bytes" if took > slow else None), shape


@click.command()
@click.option("--inputs", default=10_000)
@click.option("--seconds", default=1e9, help="Stop after so long.")
@click.option("--corpus", type=click.Path(path_type=Path), default=Path("fuzz-corpus"))
@click.option("--only", type=click.Choice(tuple(READERS)), multiple=True)
@click.option("--seed", default=0)
@click.option("--slow", default=5.0, help="Seconds of the processor from which an input is too slow.")
def main(inputs: int, seconds: float, corpus: Path, only: tuple[str, ...], seed: int, slow: float) -> None:
    """Read changed inputs until one breaks a reader."""
    chance, started, failures = random.Random(seed), time.monotonic(), 0
    tried: Counter[str] = Counter()
    kinds = only or tuple(READERS)
    pools: dict[str, list[bytes]] = {}
    for kind in kinds:
        files = [*sorted((SEEDS / kind).glob("*")), *sorted((corpus / kind).glob("*"))]
        pools[kind] = [file.read_bytes() for file in files] or [b""]
    shapes: dict[str, set[str]] = {kind: set() for kind in kinds}
    with tempfile.TemporaryDirectory() as name:
        while tried.total() < inputs and time.monotonic() - started < seconds:
            (kind,) = chance.choices(kinds, [SHARES[kind] for kind in kinds])
            data = mutated(chance, chance.choice(pools[kind]), pools[kind])
            wrong, shape = fault(kind, data, Path(name), slow)
            tried[kind] += 1
            if tried.total() % 20_000 == 0:
                _tell(tried, started, failures)
            if wrong:
                failures += 1
                _keep(corpus / "failures", f"{kind}-", data)
                print(f"--- {kind}\n{wrong}", flush=True)
            elif shape not in shapes[kind] and len(pools[kind]) < 5000:
                shapes[kind].add(shape)
                pools[kind].append(data)
                _keep(corpus / kind, "", data)
    _tell(tried, started, failures)
    raise SystemExit(bool(failures))


def _tell(tried: Counter[str], started: float, failures: int) -> None:
    kinds = ", ".join(f"{number} {kind}" for kind, number in tried.most_common())
    print(f"{tried.total()} inputs in {time.monotonic() - started:.0f} s, {failures} failed ({kinds})", flush=True)


def _keep(folder: Path, prefix: str, data: bytes) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{prefix}{hashlib.sha256(data).hexdigest()[:16]}").write_bytes(data)


if __name__ == "__main__":
    main()
