"""Prompt tokens that are not computed: found in the prefix cache, or loaded from the KV offload tier."""

from typing import TYPE_CHECKING


class PrefixHits:
    """What the fields on hits of a request mean together."""

    if TYPE_CHECKING:
        prefix_hit_share: float
        offload_hit_share: float

    @property
    def hit_share(self) -> float:
        """The share of prompt tokens that is not computed, wherever it comes from."""
        return self.prefix_hit_share + self.offload_hit_share


def check_hits(prefix_hit_share: float, offload_hit_share: float, kv_offloading_size: float | None) -> None:
    """Refuse hits in a KV offload tier that is not there, and more hits than tokens.

    Raises:
        ValueError: with one sentence.
    """
    if not offload_hit_share:
        return
    if not kv_offloading_size:
        raise ValueError("offload_hit_share: there is no KV offload tier to hit; give kv_offloading_size")
    if prefix_hit_share + offload_hit_share >= 1:
        raise ValueError("offload_hit_share and prefix_hit_share together must be below 1: the last token is new")
