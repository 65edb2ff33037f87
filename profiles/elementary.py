"""Exponentials and logarithms whose bits depend neither on numpy's release nor on the processor.

numpy computes `exp`, `expm1`, `log`, `log1p` and powers with whatever vector library its build and the processor offer,
and their last bits differ: the same request then gives other bytes under numpy 1.26 than under 2.4. Here they are made
of additions, products and quotients alone, which IEEE 754 rounds in one way, to about one unit in the last place:

    exp x  = 2^m T_j (1 + (r + r^2/2 + r^3/6 + r^4/24)),   x = (1024 m + j) ln 2 / 1024 + r,   T_j = 2^(j/1024)
    log x  = k ln 2 + log C_j + 2 (s + s^3/3 + s^5/5),   x = 2^k y,   C_j = j/256 next to y,   s = (y - C_j) / (y + C_j)
    log1p  = log(u) + (x - (u - 1)) / u,   u = 1 + x

Tables are made of Python's integers at import. Numbers outside the range of a formula (beyond e^+-700, zero, negative,
subnormal, infinite, NaN) are left to numpy, whose answers there are limits rather than figures.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

Numbers = NDArray[np.float64]

STEPS = 1024
LARGEST_EXPONENT = 700.0
LEAST_NORMAL, LARGEST = 2.0**-1022, float(np.finfo(np.float64).max)
LEAST_OF_LOG1P = -1.0 + 2.0**-53
SQRT_HALF = 0.7071067811865475
SHORTEST, LONGEST = 181, 363
"""y lies in [SQRT_HALF, 2 SQRT_HALF), so that C = j/256 has j in 181 to 363"""
CHUNK = 4096
"""elements at a time, so that what is between two operations stays in the processor's cache"""
TO_WHOLE = 1.5 * 2.0**52
"""added to a number below 2^51, it leaves the nearest whole number in the last bits"""
TO_WHOLE_BITS = int(np.float64(TO_WHOLE).view(np.int64))
SQRT_HALF_BITS = int(np.float64(SQRT_HALF).view(np.int64))
ONE = 1 << 140
"""of the integers that tables are computed with"""


def _log_of_ratio(j: int) -> int:
    """ONE log((j + 1) / j) = ONE 2 artanh(1 / (2 j + 1))."""
    power, square, total, odd = 2 * ONE // (2 * j + 1), (2 * j + 1) ** 2, 0, 1
    while power:
        total, power, odd = total + power // odd, power // square, odd + 2
    return total


def _parts(value: int) -> tuple[float, float]:
    """(value / ONE in 40 bits behind the point, so that whole multiples of it are exact; the rest)."""
    high = value >> 100 << 100
    return high / ONE, (value - high) / ONE


def _roots() -> tuple[Numbers, Numbers]:
    """(2^(j/1024), what the double of it lacks)."""
    term, root, number = ONE, 0, 0
    while term:
        root, number = root + term, number + 1
        term = term * _LN2 // (STEPS * number * ONE)
    exact = [ONE]
    for _ in range(STEPS - 1):
        exact.append(exact[-1] * root // ONE)
    doubles = [value / ONE for value in exact]
    rests = [(value - int(double * 2.0**52) * (ONE >> 52)) / ONE for value, double in zip(exact, doubles, strict=True)]
    return np.array(doubles), np.array(rests)


def _log_centers() -> Numbers:
    """log(j / 256), j from 181 to 363."""
    below = [_log_of_ratio(j) for j in range(SHORTEST, 256)]
    above = [_log_of_ratio(j) for j in range(256, LONGEST)]
    left = [-sum(below[at:]) / ONE for at in range(len(below))]
    return np.array([*left, *(sum(above[:at]) / ONE for at in range(len(above) + 1))])


_LN2 = _log_of_ratio(1)
PER_STEP = STEPS * ONE / _LN2
STEP_HIGH, STEP_LOW = _parts(_LN2 // STEPS)
LN2_HIGH, LN2_LOW = _parts(_LN2)
ROOT, ROOT_REST = _roots()
LOG_CENTER = _log_centers()


def exp(x: ArrayLike) -> Numbers:
    """e^x."""
    return _in_chunks(x, _exp)


def expm1(x: ArrayLike) -> Numbers:
    """e^x - 1, exact to the last places next to zero too."""
    return _in_chunks(x, _expm1)


def log(x: ArrayLike) -> Numbers:
    """Natural logarithm."""
    return _in_chunks(x, _log)


def log1p(x: ArrayLike) -> Numbers:
    """log(1 + x), exact to the last places next to zero too."""
    return _in_chunks(x, _log1p)


def whole_power(base: ArrayLike, exponent: ArrayLike) -> Numbers:
    """base^n for whole n >= 0, by squaring."""
    bases, exponents = np.broadcast_arrays(np.asarray(base, np.float64), np.asarray(exponent).astype(np.int64))
    found, square = np.where(exponents & 1, bases, 1.0), bases
    for bit in range(1, int(exponents.max(initial=0)).bit_length()):
        square = square * square
        found = np.where(exponents >> bit & 1, found * square, found)
    return np.asarray(found)


def _in_chunks(x: ArrayLike, function: Callable[[Numbers], Numbers]) -> Numbers:
    values = np.asarray(x, dtype=np.float64)
    if values.size <= CHUNK:
        return function(values.reshape(-1)).reshape(values.shape)[()]
    flat, found = values.reshape(-1), np.empty(values.size)
    for start in range(0, flat.size, CHUNK):
        found[start : start + CHUNK] = function(flat[start : start + CHUNK])
    return found.reshape(values.shape)


def _reduced(x: Numbers) -> tuple[NDArray[np.int64], Numbers, Numbers]:
    """(j, 2^m, e^r - 1)."""
    number = x * PER_STEP
    number += TO_WHOLE
    bits = number.view(np.int64)
    j, power = bits & STEPS - 1, ((bits >> 10) + 1023 << 52).view(np.float64)
    number -= TO_WHOLE
    r = x - number * STEP_HIGH
    number *= STEP_LOW
    r -= number
    terms = r * (1.0 / 24.0)
    terms += 1.0 / 6.0
    terms *= r
    terms += 0.5
    terms *= r
    terms *= r
    terms += r
    return j, power, terms


def _exp(x: Numbers) -> Numbers:
    x, odd = _within(x, -LARGEST_EXPONENT, LARGEST_EXPONENT)
    j, power, terms = _reduced(x)
    root = ROOT.take(j)
    terms *= root
    terms += root
    terms *= power
    return _mended(terms, odd, np.exp)


def _expm1(x: Numbers) -> Numbers:
    x, odd = _within(x, -LARGEST_EXPONENT, LARGEST_EXPONENT)
    j, power, terms = _reduced(x)
    root = ROOT.take(j)
    root *= power
    terms *= root
    rest = ROOT_REST.take(j)
    rest *= power
    terms += rest
    root -= 1.0
    terms += root
    return _mended(terms, odd, np.expm1)


def _log(x: Numbers) -> Numbers:
    x, odd = _within(x, LEAST_NORMAL, LARGEST)
    bits = np.ascontiguousarray(x).view(np.int64)
    exponent = bits - SQRT_HALF_BITS
    exponent >>= 52
    y = (bits - (exponent << 52)).view(np.float64)
    center = y * 256.0
    center += TO_WHOLE
    j = center.view(np.int64) - (TO_WHOLE_BITS + SHORTEST)
    center -= TO_WHOLE
    center *= 1.0 / 256.0
    s = y - center
    center += y
    s /= center
    square = s * s
    terms = square * 0.2
    terms += 1.0 / 3.0
    terms *= square
    terms *= s
    terms += s
    terms += terms
    exponent += TO_WHOLE_BITS
    power = exponent.view(np.float64)
    power -= TO_WHOLE
    terms += power * LN2_LOW
    terms += LOG_CENTER.take(j)
    power *= LN2_HIGH
    terms += power
    return _mended(terms, odd, np.log)


def _log1p(x: Numbers) -> Numbers:
    x, odd = _within(x, LEAST_OF_LOG1P, LARGEST)
    u = 1.0 + x
    lost = x - (u - 1.0)
    lost /= u
    lost += _log(u)
    return _mended(lost, odd, np.log1p)


def _within(x: Numbers, low: float, high: float) -> tuple[Numbers, tuple[NDArray[np.bool_], Numbers] | None]:
    """x with what lies outside replaced by 1, and (where, what it was); the minimum of NaN is NaN."""
    if not x.size or (x.min() >= low and x.max() <= high):
        return x, None
    odd = ~((x >= low) & (x <= high))
    return np.where(odd, 1.0, x), (odd, x[odd])


def _mended(
    found: Numbers, odd: tuple[NDArray[np.bool_], Numbers] | None, function: Callable[[Numbers], Numbers]
) -> Numbers:
    if odd is not None:
        found[odd[0]] = function(odd[1])
    return found
