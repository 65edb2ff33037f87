"""Names of accelerators in price catalogues: what 'A100' means depends on who sells it, and in which machine."""

import re
from functools import cached_property
from typing import Any

from vllm_opt.profiles.reading.data_files import read_data_file


class AcceleratorNames:
    """The ordered rules of accelerator_map.json; the first that matches decides."""

    def __init__(self) -> None:
        self._content = read_data_file("accelerator_map.json")

    @cached_property
    def _rules(self) -> list[tuple[dict[str, Any], dict[str, re.Pattern[str]]]]:
        keys = ("name", "instance", "provider")
        return [
            (rule, {key: re.compile(rule[key], re.IGNORECASE) for key in keys if key in rule})
            for rule in self._content["rules"]
        ]

    def sku_of(self, provider: str, instance: str, name: str, memory_gb: float | None) -> tuple[str | None, str]:
        """The SKU id of a catalogue row, or None and why it has none. `provider` is the catalogue's own short name."""
        asked = {"name": name, "instance": instance, "provider": provider}
        for rule, patterns in self._rules:
            if any(not pattern.search(asked[key]) for key, pattern in patterns.items()):
                continue
            if "memory_gb" in rule and (memory_gb is None or round(memory_gb) != rule["memory_gb"]):
                continue
            return rule["sku"], rule.get("why", "")
        return None, "accelerator not in our catalogue"

    def provider_name(self, short: str) -> str | None:
        """The name that answers use for a provider, None when no catalogue is known by that short name."""
        found: str | None = self._content["providers"].get(short.lower())
        return found

    @property
    def providers(self) -> tuple[str, ...]:
        """Short names of providers that are known."""
        return tuple(self._content["providers"])

    def is_marketplace(self, short: str) -> bool:
        """Whether a provider passes on the machines of others."""
        return short in self._content["marketplaces"]

    def confidence(self, short: str, *, recent: bool) -> str:
        """How far a price of this provider's catalogue can be trusted."""
        if self.is_marketplace(short) or short in self._content["currency_doubtful"]:
            return "low"
        if short in self._content["hyperscalers"]:
            return "high" if recent else "medium-high"
        return "medium"
