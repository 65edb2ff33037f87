"""Numbers as people and vLLM write them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.reading.quantities import (
    GIB,
    LARGEST_COUNT,
    counted,
    format_gib,
    gib_to_bytes,
    kind_in_words,
    parse_amount,
    parse_bytes,
    parse_count,
    parse_gib,
    parse_milliseconds,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("8192", 8192),
        ("8k", 8000),
        ("8K", 8192),
        ("1.5k", 1500),
        ("25.6k", 25_600),
        ("2.01k", 2009),  # int(2.01 * 1000) in floating point, as vLLM computes it
        ("1m", 1_000_000),
        ("1M", 1_048_576),
        ("2g", 2_000_000_000),
        ("1G", 1_073_741_824),
        (" 32K ", 32_768),
        ("8_192", 8192),
        (8192, 8192),
        (8192.0, 8192),
    ],
)
def test_counts_are_read_as_vllm_reads_them(text: object, value: int) -> None:
    assert parse_count(text, "target_context") == value


@pytest.mark.parametrize(
    "value",
    [
        "1.5K",
        "1.5",
        "8kk",
        "k",
        "",
        "8,192",
        "eight",
        "NaN",
        "inf",
        "0x10",
        "1e4",
        "-8k",
        "9" * 31,
        "9" * 5000,
        0,
        -1,
        1.5,
        math.nan,
        math.inf,
        LARGEST_COUNT + 1,
        True,
        None,
        [10**5000],
        {},
        b"8",
        "８１９２k\x1b[31m",
    ],
)
def test_what_is_no_count_is_refused_in_one_short_sentence(value: object) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_count(value, "target_context")
    message = str(caught.value)
    assert message.startswith("target_context must be ")
    assert "\n" not in message
    assert "\x1b" not in message
    assert len(message) < 200


def test_a_number_too_long_to_print_is_refused_by_its_length() -> None:
    with pytest.raises(InvalidRequest, match="must be at most 1,000,000,000,000, not a number of 5001 digits"):
        parse_count(10**5000, "target_context")


def test_a_fraction_of_a_binary_unit_suggests_the_decimal_one() -> None:
    with pytest.raises(InvalidRequest, match=r"write 1\.5k or a whole number"):
        parse_count("1.5K", "target_context")


@given(st.integers(1, LARGEST_COUNT))
def test_a_plain_number_is_itself(number: int) -> None:
    assert parse_count(str(number), "n") == number == parse_count(number, "n")


@given(st.integers(1, 10**6))
def test_k_is_thousand_and_capital_k_is_1024(number: int) -> None:
    assert parse_count(f"{number}k", "n") == 1000 * number
    assert parse_count(f"{number}K", "n") == 1024 * number


@given(st.one_of(st.text(max_size=40), st.floats(), st.integers(), st.none()))
def test_anything_else_is_a_number_or_a_refusal(value: object) -> None:
    try:
        number = parse_count(value, "n")
    except InvalidRequest:
        return
    assert 1 <= number <= LARGEST_COUNT


def test_amounts() -> None:
    assert parse_amount("0.9", "x") == 0.9
    assert parse_amount(0, "x") == 0.0
    with pytest.raises(InvalidRequest, match="x must be above 0, not 0"):
        parse_amount(0, "x", above=True)
    with pytest.raises(InvalidRequest, match="x must be at least 0, not -1"):
        parse_amount(-1, "x")
    with pytest.raises(InvalidRequest, match="x must be a finite number"):
        parse_amount(math.nan, "x")
    with pytest.raises(InvalidRequest, match="x must be a finite number"):
        parse_amount("inf", "x")
    with pytest.raises(InvalidRequest, match="x must be a number"):
        parse_amount(10**400, "x")
    with pytest.raises(InvalidRequest, match="x must be a number"):
        parse_amount(True, "x")
    with pytest.raises(InvalidRequest, match=r"x must be at most 1e\+15"):
        parse_amount(1e16, "x")


def test_gib() -> None:
    assert format_gib(84_936_000_000) == "79.10 GiB"
    assert gib_to_bytes(79.1) == 84_932_978_278  # 79.1 * 2**30 = 84932978278.4, rounded down
    assert gib_to_bytes(1) == GIB == 1_073_741_824


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [("500", 500), ("500ms", 500), ("2s", 2000), (" 1.5 s ", 1500), ("250us", 0.25), ("1min", 6e4)],
)
def test_times_are_read_in_milliseconds(text: str, milliseconds: float) -> None:
    assert parse_milliseconds(text, "it") == milliseconds


@pytest.mark.parametrize(
    ("text", "gib"), [("80", 80), ("80GiB", 80), ("80gb", 80e9 / GIB), ("512 MiB", 0.5), ("1TB", 1e12 / GIB)]
)
def test_memory_is_read_in_gib(text: str, gib: float) -> None:
    assert parse_gib(text, "it") == gib


@pytest.mark.parametrize(("text", "size"), [("24GiB", 24 * 2**30), ("24GB", 24 * 10**9), ("1G", 2**30), ("4096", 4096)])
def test_bytes_are_exact(text: str, size: int) -> None:
    assert parse_bytes(text, "it") == size


@pytest.mark.parametrize("text", ["", "s", "2 parsecs", "1e999", "nan", "--", "2s3", "٣s", "1" * 400, "2\x00s"])
def test_what_is_no_time_or_size_is_refused(text: str) -> None:
    for read in (parse_milliseconds, parse_gib, parse_bytes):
        with pytest.raises(InvalidRequest, match=r"^it "):
            read(text, "it")


def test_a_count_stands_before_its_noun() -> None:
    assert (counted(1, "GPU"), counted(47, "GPU")) == ("1 GPU", "47 GPUs")
    assert counted(1024, "reply", "replies") == "1,024 replies"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([], "a list"), ((), "a list"), ({}, "an object"), ("x", "text"), (1, "a number"), (1.5, "a number"),
        (True, "true or false"), (None, "nothing"),
    ],
)  # fmt: skip
def test_kinds_are_named_as_the_author_of_a_file_would(value: object, words: str) -> None:
    assert kind_in_words(value) == words
