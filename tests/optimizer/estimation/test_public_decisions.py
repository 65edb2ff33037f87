"""Decisions that public sources took, asked of the product (benchmarks/decisions.py): which hold, and how many."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
DISAGREE = {"8", "12", "17", "24a", "29"}
"""Each is explained in docs/latency-accuracy.md."""
LEAST_FACTORS = 19


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """The benchmark as a module."""
    spec = importlib.util.spec_from_file_location("decisions", ROOT / "benchmarks" / "decisions.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["decisions"] = module
    spec.loader.exec_module(module)
    return module


def question(script: ModuleType, figures: dict[str, dict[str, float]], **fields: Any) -> Any:
    """A question whose plans were estimated already."""
    one = script.Question({"number": "0", "statement": "", **fields})
    one.__dict__["figures"] = figures
    return one


def test_every_decision_says_what_is_compared_and_where_it_was_published(script: ModuleType) -> None:
    found = script.decisions()
    assert len(found) == len({one["number"] for one in found}) == 36
    assert sum("factors" in one for one in found) == 24
    for one in found:
        assert one["source"] is None or one["source"].startswith("https://")
        asked = {name for check in one.get("checks", ()) for name in check["order"]}
        asked |= set(one.get("order", ())) | {name for pair in one.get("same", ()) for name in pair}
        assert asked | {name for pair in one.get("factors", ()) for name in pair[:2]} == set(one.get("plans", {}))
        assert asked or "solve" in one or "solves" in one


@pytest.mark.parametrize(
    ("first", "word", "met"), [(150.0, "agree", True), (100.5, "tie", False), (90.0, "disagree", False)]
)
def test_less_than_one_per_cent_is_a_tie_and_a_factor_is_met_within_25_per_cent(
    script: ModuleType, first: float, word: str, met: bool
) -> None:
    figures = {"a": {"tokens": first}, "b": {"tokens": 100.0}}
    found = question(script, figures, order=["a", "b"], factors=[["a", "b", 1.6]]).verdict()
    assert (found.word, found.agrees, found.factor_met) == (word, word == "agree", met)


def test_a_decision_for_the_wrong_reason_is_an_accident(script: ModuleType) -> None:
    figures = {"a": {"tokens": 4.0, "tokens per GPU": 2.0}, "b": {"tokens": 3.0, "tokens per GPU": 1.0}}
    reason = {"order": ["b", "a"], "by": "tokens"}
    found = question(script, figures, by="tokens per GPU", order=["a", "b"], reason=reason).verdict()
    assert (found.word, found.agrees) == ("accident", False)


def test_the_decisions_that_hold_and_the_factors_that_are_met(script: ModuleType) -> None:
    verdicts = [script.Question(one).verdict() for one in script.decisions()]
    assert {one.number for one in verdicts if not one.agrees} <= DISAGREE
    assert not any(one.word == "accident" for one in verdicts)
    assert sum(one.factor_met for one in verdicts) >= LEAST_FACTORS
