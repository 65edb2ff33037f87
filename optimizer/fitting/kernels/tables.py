"""Measured kernel tables as columns: a folder per system / operation / framework / version (pyarrow, offline only)."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vllm_opt.profiles.errors import InvalidRequest

Column = NDArray[Any]
SYSTEMS = {
    "a100_sxm": "a100-sxm4-80gb",
    "l40s": "l40s",
    "rtx_pro_6000_server": "rtx-pro-6000-server",
    "h100_sxm": "h100-sxm",
    "h200_sxm": "h200-sxm",
    "b200_sxm": "b200",
    "b300_sxm": "b300",
    "gb200": "gb200",
    "gb300": "gb300",
    "b60": "arc-pro-b60",
}
"""SKU ids by the folders' names."""


def release_of(path: Path) -> tuple[int, ...]:
    """Sortable version of the folder that a table lies in."""
    return tuple(int(part) for part in path.parent.name.split(".") if part.isdigit())


def newest(root: Path, system: str, operation: str, name: str) -> dict[str, Column] | None:
    """The columns of the newest table of one operation, or None where the system has none."""
    found = sorted((root / system / operation).glob(f"*/*/{name}_perf.parquet"), key=release_of)
    return read(found[-1]) if found else None


def read(path: Path) -> dict[str, Column]:
    """One table as columns; raises InvalidRequest with one sentence."""
    from pyarrow import ArrowException
    from pyarrow.parquet import read_table

    try:
        table = read_table(path)
    except (OSError, ArrowException) as error:
        raise InvalidRequest(f"Cannot read the kernel table '{path}': {error}.") from None
    return {name: np.array(table[name].to_pylist()) for name in table.column_names}


def fastest(keys: list[Column], seconds: Column) -> tuple[Column, Column]:
    """(distinct keys, least seconds): where several kernels can do a job, vLLM runs the best one."""
    rows, group = np.unique(np.stack([key.astype(np.float64) for key in keys], axis=1), axis=0, return_inverse=True)
    least = np.full(len(rows), np.inf)
    np.minimum.at(least, group.reshape(-1), seconds)
    return rows, least
