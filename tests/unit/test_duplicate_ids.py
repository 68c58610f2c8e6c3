"""The ids of a long run are kept in a temporary file, whose disk may be full."""

from __future__ import annotations

import pytest

from shardd.errors import Unavailable
from shardd.files.duplicate_ids import SeenIds


def test_a_full_disk_is_no_fault_of_ours() -> None:
    with SeenIds() as seen:
        seen._connection.execute("PRAGMA max_page_count = 4")  # of which SQLite says the same as of a full disk
        for number in range(1_000):
            seen.add(f"id-{number:060}", number, "0" * 40, "here")
        with pytest.raises(Unavailable, match="database or disk is full"):
            seen.flush()
