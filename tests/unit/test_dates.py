"""Times as people write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from shardd.core.dates import parse_when
from shardd.errors import Misuse

ZONE = timezone(timedelta(hours=2))
NOW = datetime(2026, 3, 31, 10, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("now", "2026-03-31T10:30:00"),
        ("today", "2026-03-30T22:00:00"),
        ("yesterday", "2026-03-29T22:00:00"),
        ("Yesterday 14:00", "2026-03-30T12:00:00"),
        ("2 days ago", "2026-03-29T10:30:00"),
        ("2.days.ago", "2026-03-29T10:30:00"),
        ("an hour ago", "2026-03-31T09:30:00"),
        ("90 minutes ago", "2026-03-31T09:00:00"),
        ("3 weeks ago", "2026-03-10T10:30:00"),
        ("1 month ago", "2026-02-28T10:30:00"),
        ("2 years ago", "2024-03-31T10:30:00"),
        ("900 years ago", "1970-01-01T00:00:00"),
        ("999999 weeks ago", None),
        ("2026-03-01", "2026-02-28T22:00:00"),
        ("2026-03-01 12:00", "2026-03-01T10:00:00"),
        ("2026-03-01T12:00:00Z", "2026-03-01T12:00:00"),
        ("2026-03-01t12:00:00.5+01:00", "2026-03-01T11:00:00.500000"),
        ("1066-10-14", "1970-01-01T00:00:00"),
        ("", None),
        ("soon", None),
        ("yesterday noon", None),
        ("2026-02-30", None),
        ("-2 days ago", None),
    ],
)
def test_a_time_is_what_a_person_means(text: str, meant: str | None) -> None:
    if meant is None:
        with pytest.raises(Misuse, match="is no time"):
            parse_when(text, NOW, ZONE)
        return
    assert parse_when(text, NOW, ZONE) == datetime.fromisoformat(meant).replace(tzinfo=UTC)


def test_where_no_zone_is_named_the_machine_s_own_is_meant() -> None:
    assert parse_when("2026-03-01 12:00", NOW) == datetime(2026, 3, 1, 12).astimezone(UTC)
