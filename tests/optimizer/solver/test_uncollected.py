"""The collector is back after a request, whatever came of it, and has nothing to do."""

import gc
import weakref

import pytest

from vllm_opt.optimizer.contract.request import SolveRequest
from vllm_opt.optimizer.search.search import Search
from vllm_opt.optimizer.solver.uncollected import uncollected
from vllm_opt.optimizer.space.setting import resolve_solve
from vllm_opt.profiles.catalogues.catalog import Catalog


def test_the_collector_waits_and_comes_back() -> None:
    assert gc.isenabled()
    with uncollected():
        assert not gc.isenabled()
        with uncollected():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()


def test_it_comes_back_after_an_error() -> None:
    with pytest.raises(ValueError, match="stop"), uncollected():
        raise ValueError("stop")
    assert gc.isenabled()


def test_it_stays_off_where_it_was_off() -> None:
    gc.disable()
    try:
        with uncollected():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_a_search_is_gone_with_its_last_reference() -> None:
    setting = resolve_solve(SolveRequest(gpu="h100-sxm", max_tpot_ms=30), Catalog())
    search = Search(setting)
    gc.disable()
    try:
        search.run()
        physics, servers = weakref.ref(search.physics), weakref.ref(search.servers)
        del search
        assert physics() is None
        assert servers() is None
    finally:
        gc.enable()
