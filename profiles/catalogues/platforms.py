"""The platforms of vLLM beside CUDA, by the SKUs that they serve."""

from typing import Any

from vllm_opt.profiles.reading.data_files import read_data_file


def platform_rows() -> dict[str, dict[str, Any]]:
    """Return SKU id -> the row of its platform in `platforms.json`."""
    rows: list[dict[str, Any]] = read_data_file("platforms.json")["platforms"]
    return {sku: row for row in rows for sku in row["gpus"]}
