"""Exponentials and logarithms to a unit or two in the last place, and the same bits everywhere."""

import hashlib
import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vllm_opt.profiles import elementary

STEPS = (np.arange(20_001) + 0.5) / 20_001
SMALL = np.concatenate([sign * 10.0 ** np.linspace(-15, -0.01, 500) for sign in (1.0, -1.0)])
RANGES = {
    "exp": np.concatenate([SMALL, STEPS * 1398 - 699]),
    "expm1": np.concatenate([SMALL, STEPS * 1398 - 699, STEPS * 4 - 2]),
    "log": np.concatenate([1.0 + SMALL, 10.0 ** (STEPS * 600 - 300), STEPS * 4]),
    "log1p": np.concatenate([SMALL, 10.0 ** (STEPS * 300), -STEPS]),
}
EXACT = {"exp": math.exp, "expm1": math.expm1, "log": math.log, "log1p": math.log1p}


@pytest.mark.parametrize("name", EXACT)
def test_a_unit_or_two_in_the_last_place(name: str) -> None:
    function: Callable[[object], np.ndarray] = getattr(elementary, name)
    exact = np.array([EXACT[name](value) for value in RANGES[name].tolist()])
    assert np.max(np.abs(function(RANGES[name]) - exact) / np.spacing(np.abs(exact))) <= 2.0


@pytest.mark.parametrize("name", EXACT)
def test_many_at_once_are_one_at_a_time(name: str) -> None:
    """Chunks, strides and scalars: an engine's figure does not depend on whose figures are computed beside it."""
    function: Callable[[object], np.ndarray] = getattr(elementary, name)
    values = np.resize(RANGES[name], 2 * elementary.CHUNK + 7)
    together = function(values)
    assert together[::997].tolist() == [float(function(value)) for value in values[::997].tolist()]
    assert np.array_equal(function(values[::-3]), together[::-3])
    assert np.array_equal(function(values[: elementary.CHUNK].reshape(2, 4, -1)).ravel(), together[: elementary.CHUNK])
    assert function(np.empty((0, 3))).shape == (0, 3)
    assert isinstance(function(0.5), float)


def test_limits_are_numpy_s() -> None:
    assert elementary.exp([-math.inf, -800.0, 0.0, 1.0, math.inf]).tolist() == [0.0, 0.0, 1.0, math.e, math.inf]
    assert elementary.expm1([-math.inf, -800.0, 0.0, math.inf]).tolist() == [-1.0, -1.0, 0.0, math.inf]
    assert elementary.log([1.0, 5e-324, math.inf]).tolist() == [0.0, math.log(5e-324), math.inf]
    assert elementary.log1p([0.0, math.inf]).tolist() == [0.0, math.inf]
    assert all(np.isnan(getattr(elementary, name)([1.0, math.nan])).tolist() == [False, True] for name in EXACT)


def test_whole_powers() -> None:
    bases = np.array([0.0, 0.3, 1.0, 2.0])
    assert elementary.whole_power(bases, 1.0).tolist() == bases.tolist()
    assert elementary.whole_power(bases, 0).tolist() == [1.0] * 4
    found = elementary.whole_power(bases[:, None], np.arange(6))
    assert found == pytest.approx(np.power(bases[:, None], np.arange(6)), rel=1e-15)
    assert found[3].tolist() == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0]


def test_the_same_bits_everywhere() -> None:
    """These digests hold for every numpy, processor and operating system whose doubles are IEEE 754's."""
    values = np.arange(1, 20_001) / 4096.0
    found = {name: hashlib.sha256(getattr(elementary, name)(values).tobytes()).hexdigest()[:12] for name in EXACT}
    assert found == {"exp": "937ad7fb6365", "expm1": "cc041a9f6513", "log": "b8bf5db2e6cc", "log1p": "9766bd73ac95"}


def test_nothing_that_answers_takes_numpy_s() -> None:
    """The fits run offline; whatever an answer is made of comes from here."""
    root = Path(__file__).resolve().parents[2]
    files = [file for package in ("profiles", "constraints", "optimizer") for file in (root / package).rglob("*.py")]
    numpys = re.compile(r"\bnp\.(exp|expm1|exp2|log|log2|log10|log1p|power|cbrt|float_power)\(")
    answering = [file for file in files if "fitting" not in file.parts and file.name != "elementary.py"]
    assert [file.name for file in answering if numpys.search(file.read_text(encoding="utf-8"))] == []
