"""Which vLLM release a measurement ran on: stated, or the newest one when it was dated."""

from typing import Any

MONTHS = {
    "2023-09": "0.2", "2024-01": "0.3", "2024-04": "0.4", "2024-06": "0.5", "2024-09": "0.6", "2025-02": "0.7",
    "2025-03": "0.8", "2025-06": "0.9", "2025-08": "0.10", "2025-10": "0.11", "2025-12": "0.12", "2026-01": "0.14",
    "2026-02": "0.15", "2026-03": "0.17", "2026-04": "0.19", "2026-05": "0.20", "2026-06": "0.24", "2026-07": "0.26",
}  # fmt: skip
"""First month in which a release was the newest (https://github.com/vllm-project/vllm/releases)."""


def release_of(row: dict[str, Any]) -> str:
    """The stated version's first two numbers, else the newest release at the row's date (of a year: at its middle)."""
    version = str(row.get("version") or "").lstrip("v").split("+")[0]
    parts = version.split(".")
    if len(parts) >= 2 and parts[0].isdigit() and parts[1].isdigit():
        return f"{parts[0]}.{parts[1]}"
    date = str(row.get("date") or "2025-06")[:7]
    month = date if len(date) == 7 else f"{date[:4]}-06"
    older = [release for first, release in MONTHS.items() if first <= month]
    return older[-1] if older else "0.2"
