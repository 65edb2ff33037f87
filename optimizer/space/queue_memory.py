"""Times under queueing that were worked out before: layouts differ in more than what queueing asks of them.

A search meets the same engine again and again: as another number of servers, beside another format of the KV cache, in
every question of an answer. What queueing says depends on a row of numbers alone, so it is looked up by their bytes.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
MOST_ROWS = 200_000


@dataclass
class QueueMemory:
    """Results by the bytes of the rows that they were worked out from, for one kind of traffic after another."""

    _known: dict[bytes, Numbers] = field(default_factory=dict)

    def rows(self, kind: bytes, asked: Numbers, work_out: Callable[[NDArray[np.intp]], Numbers]) -> Numbers:
        """Results for every row of `asked`; `work_out` is given the positions of those never seen."""
        keys = [kind + row.tobytes() for row in np.ascontiguousarray(asked)]
        new = {key: at for at, key in enumerate(keys) if key not in self._known}
        if new:
            if len(self._known) + len(new) > MOST_ROWS:
                self._known.clear()
                new = {key: at for at, key in enumerate(keys)}
            found = work_out(np.fromiter(new.values(), dtype=np.intp, count=len(new)))
            self._known.update(zip(new, found, strict=True))
        return np.array([self._known[key] for key in keys])
