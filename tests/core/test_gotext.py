"""Go's texts: the expectations were taken from Go's own ``strconv`` and ``time``."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from copilot.core import gotext


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1e21, "1000000000000000000000"),
        (1e-07, "0.0000001"),
        (5.0, "5"),
        (-0.0, "-0"),
        (0.1, "0.1"),
        (math.nan, "NaN"),
        (math.inf, "+Inf"),
        (-math.inf, "-Inf"),
    ],
)
def test_a_float_is_its_shortest_decimal_without_an_exponent(value: float, text: str) -> None:
    assert gotext.format_float(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_finite_float_reads_back(value: float) -> None:
    text = gotext.format_float(value)
    assert "e" not in text
    assert gotext.parse_float(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("1_0.5", 10.5),
        ("0x1p-2", 0.25),
        ("1E+5", 1e5),
        ("-Infinity", -math.inf),
        ("1e-400", 0.0),
    ],
)
def test_a_float_may_be_written_as_go_allows(text: str, value: float) -> None:
    assert gotext.parse_float(text) == value


@pytest.mark.parametrize(
    "text", ["", ".", "1e", "1e400", "0x1", "0xp1", " 1", "1 ", "1_", "1__0", "+nan", "\u0661", "0x1p2000"]
)
def test_what_is_no_float_to_go_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a number|does not fit"):
        gotext.parse_float(text)


@given(st.integers(gotext.INT64_MIN, gotext.INT64_MAX))
def test_every_64_bit_integer_reads_back(value: int) -> None:
    assert gotext.parse_int(str(value)) == value


@pytest.mark.parametrize(
    "text", ["", "+", "1_0", "0x1", "1.0", "9223372036854775808", "-9223372036854775809", "\uff11", "1" * 5000]
)
def test_what_is_no_64_bit_integer_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not an integer|does not fit"):
        gotext.parse_int(text)


@pytest.mark.parametrize("text", ["yes", "TrUe", "", "on", "2"])
def test_only_gos_booleans_are_booleans(text: str) -> None:
    with pytest.raises(ValueError, match="boolean"):
        gotext.parse_bool(text)


@pytest.mark.parametrize("value", [True, False])
def test_a_boolean_reads_back(value: bool) -> None:  # noqa: FBT001 — the value is the case
    assert gotext.parse_bool(gotext.format_bool(value)) is value


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0s"),
        (1, "1ns"),
        (1_500, "1.5µs"),
        (300_000_000, "300ms"),
        (-250_000_000, "-250ms"),
        (60_000_000_000, "1m0s"),
        (3_723_500_000_000, "1h2m3.5s"),
        (90_000_000_000_000, "25h0m0s"),
        (-(2**63), "-2562047h47m16.854775808s"),
    ],
)
def test_a_duration_is_written_as_go_writes_it(nanoseconds: int, text: str) -> None:
    assert gotext.format_duration(nanoseconds) == text


@given(st.integers(gotext.INT64_MIN, gotext.INT64_MAX))
def test_every_duration_reads_back(nanoseconds: int) -> None:
    assert gotext.parse_duration(gotext.format_duration(nanoseconds)) == nanoseconds


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("1.5h", 5_400_000_000_000),
        ("90s", 90_000_000_000),
        ("0", 0),
        ("+1h1m", 3_660_000_000_000),
        (".5s", 500_000_000),
        ("1μs", 1_000),
        ("0.3333333333333333333h", 1_200_000_000_000),
    ],
)
def test_a_duration_may_be_written_as_go_allows(text: str, nanoseconds: int) -> None:
    assert gotext.parse_duration(text) == nanoseconds


@pytest.mark.parametrize(
    "text", ["", "-", "1", "s", ".s", "1 h", "1d", "1h-1m", "1.2.3s", "3000000h", "1e3s", "9223372036854775808ns"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a duration|beyond"):
        gotext.parse_duration(text)


@pytest.mark.parametrize(
    ("text", "seconds", "nanoseconds"),
    [
        ("2026-01-02T03:04:05Z", 1_767_323_045, 0),
        ("2026-01-02T03:04:05.000000006Z", 1_767_323_045, 6),
        ("2026-01-02T08:34:05,5+05:30", 1_767_323_045, 500_000_000),
        ("2026-01-02T3:04:05.1234567899Z", 1_767_323_045, 123_456_789),
        ("0000-12-31T23:00:00-02:00", -62_135_593_200, 0),
        ("9999-12-31T23:59:59.999999999Z", 253_402_300_799, 999_999_999),
    ],
)
def test_a_time_is_read_with_its_zone_and_nanoseconds(text: str, seconds: int, nanoseconds: int) -> None:
    assert gotext.parse_timestamp(text) == (seconds, nanoseconds)


@given(st.integers(-62_135_596_800, 253_402_300_799), st.integers(0, 999_999_999))
def test_every_time_reads_back(seconds: int, nanoseconds: int) -> None:
    assert gotext.parse_timestamp(gotext.format_timestamp(seconds, nanoseconds)) == (seconds, nanoseconds)


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-02 03:04:05Z",
        "2026-01-02T03:04:05",
        "2026-02-29T00:00:00Z",
        "2026-01-02T24:00:00Z",
        "2026-01-02T03:04:60Z",
        "2026-01-02T03:04:05+25:00",
        "2026-01-02t03:04:05z",
        "2026-01-02T03:04:05.Z",
        "0000-06-01T00:00:00Z",
        "2026-01-02",
    ],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a|has a time zone|is a time outside"):
        gotext.parse_timestamp(text)
