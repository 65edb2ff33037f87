"""Fuzzing that follows branches: atheris (libFuzzer) over one reader of text, from the corpus of the tests.

    pip install '.[fuzz]'
    nice -n 10 python benchmarks/fuzz_guided.py config --seconds 300 --corpus fuzz-corpus

The readers, and what counts as a fault of one, are those of fuzz.py beside this file. The code of readers is
instrumented, and an input that takes a branch for the first time is kept in CORPUS/guided-KIND and changed further. A
fault is printed and written to CORPUS/failures, and the run goes on. Atheris has wheels for Linux only.
"""

import runpy
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

BESIDE = Path(__file__).with_name("fuzz.py")
READING = (
    "vllm_opt.profiles", "vllm_opt.optimizer.contract", "vllm_opt.optimizer.calibration", "vllm_opt.optimizer.web",
    "vllm_opt.optimizer.linter", "vllm_opt.optimizer.serve_lines", "vllm_opt.optimizer.procurement",
)  # fmt: skip
KINDS = ("config", "yaml", "shell", "compose", "log", "lengths", "requests", "http")


@click.command()
@click.argument("kind", type=click.Choice(KINDS))
@click.option("--seconds", default=300)
@click.option("--corpus", type=click.Path(path_type=Path), default=Path("fuzz-corpus"))
@click.option("--seed", default=1)
@click.option("--slow", default=10.0, help="Seconds of the processor, instrumented, from which an input is too slow.")
def main(kind: str, seconds: int, corpus: Path, seed: int, slow: float) -> None:
    """Read what atheris makes of the corpus."""
    import atheris

    with atheris.instrument_imports(include=list(READING)):
        fuzz = runpy.run_path(str(BESIDE))
    found = corpus / f"guided-{kind}"
    found.mkdir(parents=True, exist_ok=True)
    seen: set[str] = set()
    with tempfile.TemporaryDirectory() as name:

        def read(data: bytes) -> None:
            wrong, _ = fuzz["fault"](kind, data, Path(name), slow)
            if wrong and wrong[-200:] not in seen:
                seen.add(wrong[-200:])
                fuzz["_keep"](corpus / "failures", f"{kind}-", data)
                print(f"--- {kind}\n{wrong}", flush=True)

        places = [str(found), *(str(place) for place in (fuzz["SEEDS"] / kind, corpus / kind) if place.is_dir())]
        limits = [f"-max_total_time={seconds}", f"-seed={seed}", "-max_len=20000", "-rss_limit_mb=4000", "-timeout=120"]
        _run(atheris, [sys.argv[0], *limits, "-print_final_stats=1", *places], read)


def _run(atheris: Any, arguments: list[str], read: Any) -> None:
    atheris.Setup(arguments, read)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
