"""One request in the simulated engine, and what became of it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Arrival:
    """One request as a client sends it."""

    at_s: float
    input_tokens: int
    output_tokens: int


@dataclass
class Sequence:
    """One request inside the engine."""

    number: int
    arrival: Arrival
    cached_tokens: int
    """Prompt tokens found in the prefix cache: never computed."""
    computed: int = 0
    """Tokens whose keys and values are in the pool, the cached ones included."""
    generated: int = 0
    first_token_s: float = -1.0
    finished_s: float = -1.0
    preemptions: int = 0

    @property
    def tokens(self) -> int:
        """Prompt and answer so far: what must be computed before the next token."""
        return self.arrival.input_tokens + self.generated

    @property
    def missing(self) -> int:
        """Tokens that are still to be computed before it decodes."""
        return self.tokens - self.computed
