"""What queueing has worked out is looked up, and is what working it out again would give."""

import numpy as np
from numpy.typing import NDArray

from vllm_opt.optimizer.space.queue_memory import QueueMemory

ROWS = np.array([[1.0, 2.0], [3.0, 4.0], [1.0, 2.0]])


def test_equal_rows_are_worked_out_once_for_each_kind_of_traffic() -> None:
    memory, seen = QueueMemory(), list[list[int]]()

    def sums(rows: NDArray[np.float64]) -> NDArray[np.float64]:
        def work_out(new: NDArray[np.intp]) -> NDArray[np.float64]:
            seen.append(new.tolist())
            return rows[new].sum(axis=1, keepdims=True)

        return memory.rows(b"poisson", rows, work_out)

    assert sums(ROWS)[:, 0].tolist() == [3.0, 7.0, 3.0]
    assert sums(ROWS[1:])[:, 0].tolist() == [7.0, 3.0]
    assert [len(new) for new in seen] == [2]
    other = memory.rows(b"burst", ROWS, lambda new: -ROWS[new].sum(axis=1, keepdims=True))
    assert other[:, 0].tolist() == [-3.0, -7.0, -3.0]
