"""Lengths of time: everything that people write for one, and what is none."""

from __future__ import annotations

import pytest

from shardd.core.durations import left_text, parse_duration
from shardd.errors import Misuse


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90), ("0", 0), ("0.5", 0.5), (".5", 0.5), ("90s", 90), ("15m", 900), ("15 min", 900), ("1h", 3600),
        ("2d", 172_800), ("1w", 604_800), ("1h30m", 5400), ("1h 30m", 5400), ("1d2h3m4s", 93_784), ("1.5h", 5400),
        ("2 Days", 172_800), (" 15m ", 900),
    ],
)  # fmt: skip
def test_as_people_write_them(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds * 1000


@pytest.mark.parametrize(
    "text",
    ["", " ", "soon", "m", "-1", "1x", "1m1h", "1m1m", "1h30", "1e3", "nan", "inf", "²", "٣", "1.2.3", "99999999999d"],
)
def test_what_is_none(text: str) -> None:
    with pytest.raises(Misuse, match="is not a length of time") as caught:
        parse_duration(text)
    assert caught.value.remedy == "write it like 90 (seconds), 15m, 1h or 2d"


@pytest.mark.parametrize("seconds", [0, 1, 119, 120, 7199, 7200, 172_799, 172_800, 2_592_000])
def test_what_we_say_can_be_said_to_us(seconds: int) -> None:
    said = parse_duration(left_text(seconds * 1000)) // 1000
    assert 0.6 * seconds <= said <= seconds
