"""Packing replicas onto nodes: the rows and patterns say exactly what a search over all placements says."""

from fleet_oracle import fewest_bins
from hypothesis import given, settings
from hypothesis import strategies as st

from vllm_opt.optimizer.fleet.packing import chain_rows, is_chain, is_exact, maximal_patterns, pack, place, rounded_up

CHAINS = ((1, 2, 4), (4, 8, 16, 32), (2, 4, 8), (1, 4, 12), (4, 8))


def test_which_sizes_divide_each_other() -> None:
    assert is_chain((4, 8, 16))
    assert is_chain((8,))
    assert not is_chain((8, 12))
    assert [rounded_up(size) for size in (1, 2, 3, 4, 12, 32)] == [1, 2, 4, 4, 16, 32]


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(CHAINS), st.integers(4, 40), st.data())
def test_a_chain_fits_exactly_when_its_rows_hold(sizes: tuple[int, ...], node: int, data: st.DataObject) -> None:
    sizes = tuple(size for size in sizes if size <= node)
    if not sizes:
        return
    counts = {size: data.draw(st.integers(0, 3)) for size in sizes}
    pieces = tuple(sorted((size for size, n in counts.items() for _ in range(n)), reverse=True))
    rows = chain_rows(sizes, node)
    least = next(
        nodes
        for nodes in range(20)
        if all(sum(row.coefficients.get(s, 0) * n for s, n in counts.items()) <= row.per_node * nodes for row in rows)
    )
    assert least == fewest_bins(pieces, node)
    assert len(place([(size, "x") for size in pieces], node)) == least


def test_patterns_of_a_node_of_eight_with_three_and_two_gpus() -> None:
    patterns = maximal_patterns((12, 8), 32)
    assert patterns is not None
    assert {tuple(sorted(p.items())) for p in patterns} == {((8, 1), (12, 2)), ((8, 2), (12, 1)), ((8, 4),)}


def test_too_many_patterns_are_not_listed() -> None:
    assert maximal_patterns(tuple(range(3, 60, 2)), 288) is None


def test_pieces_stand_where_their_patterns_put_them() -> None:
    nodes = pack([(12, "a"), (12, "a"), (8, "b"), (8, "b")], 32, [({12: 2, 8: 1}, 1), ({8: 4}, 1)])
    assert [sum(slots for _, slots in node) for node in nodes] == [32, 8]


def test_an_empty_fleet_needs_no_node() -> None:
    assert place([], 32) == ()


def test_nodes_of_eight_are_exact_for_every_size_and_a_rack_of_72_is_not() -> None:
    every = (1, 2, *range(4, 33, 4))
    assert is_exact(every, 32)
    assert is_exact((4, 8, 16, 32), 72 * 4)
    assert not is_exact(every, 72 * 4)
