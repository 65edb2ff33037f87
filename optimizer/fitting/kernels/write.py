"""Summarise kernel tables: `python -m vllm_opt.optimizer.fitting.kernels.write TABLES [OUTPUT.json]`.

TABLES holds one folder per system, as the data files of the Python package aiconfigurator-core do (Apache-2.0). The
product keeps the summary, profiles/data/kernels.json, never the tables. Needs pyarrow and scipy.
"""

import json
import sys
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from vllm_opt.optimizer.fitting.kernels.summary import all_reduce, attention, experts, latent, products
from vllm_opt.optimizer.fitting.kernels.tables import SYSTEMS, newest
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.errors import VllmOptError

SOURCE = (
    "kernel tables of aiconfigurator-core 0.12.0 (NVIDIA, Apache-2.0), https://github.com/ai-dynamo/aiconfigurator: "
    "vLLM's own kernels timed one by one; summarised by optimizer/fitting/kernels/write.py"
)


def system(root: Path, folder: str, catalog: Catalog) -> dict[str, Any]:
    """Every summary that one system's tables allow."""
    gpu, found = catalog.gpu(SYSTEMS[folder]), dict[str, Any]()
    gemm, moe = newest(root, folder, "gemm", "gemm"), newest(root, folder, "moe", "moe")
    context = newest(root, folder, "attention", "context_attention")
    generation = newest(root, folder, "attention", "generation_attention")
    if gemm is not None:
        found["products"] = products(gemm, gpu)
    if moe is not None:
        found["experts"] = experts(moe, gpu)
    if context is not None and generation is not None:
        found["attention"] = attention(context, generation, gpu)
    module = newest(root, folder, "mla", "mla_generation_module")
    if module is not None:
        found["latent"] = latent(module, gpu)
    reduced = collectives(root, folder)
    if reduced:
        found["all_reduce"] = reduced
    return found


def collectives(root: Path, folder: str) -> dict[str, dict[str, float]]:
    """All-reduce by ranks, over vLLM's own kernel inside a graph and the vendor's library: the faster one runs."""
    parts = []
    own = newest(root, folder, "comm", "custom_allreduce")
    if own is not None:
        kept = own["backend"] == "vllm_graph"
        parts.append((own["message_size"][kept], own["latency"][kept], own["num_gpus"][kept]))
    for name in ("nccl", "oneccl"):
        library = newest(root, folder, "comm", name)
        if library is not None:
            kind = next(column for column in library if column.endswith("_dtype"))
            kept = (library["op_name"] == "all_reduce") & np.isin(library[kind], ("half", "bfloat16"))
            parts.append((library["message_size"][kept], library["latency"][kept], library["num_gpus"][kept]))
    if not parts:
        return {}
    elements, ms, ranks = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return all_reduce(elements, ms, ranks)


def main(arguments: Sequence[str]) -> int:
    """Read the tables, write the summary."""
    if not 1 <= len(arguments) <= 2:
        print(__doc__, file=sys.stderr)
        return 2
    root, catalog = Path(arguments[0]), Catalog()
    default = Path(str(files("vllm_opt.profiles").joinpath("data"))) / "kernels.json"
    output = Path(arguments[1]) if len(arguments) == 2 else default
    try:
        systems = {SYSTEMS[name]: system(root, name, catalog) for name in SYSTEMS if (root / name).is_dir()}
    except VllmOptError as error:
        print(error, file=sys.stderr)
        return 2
    if not systems:
        print(f"No folder of a known system in '{root}': expected one of {', '.join(SYSTEMS)}.", file=sys.stderr)
        return 2
    output.write_text(json.dumps({"source": SOURCE, "systems": systems}, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
