"""The examples of the README run as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from shardd.core.kinds.default import DEFAULT_KINDS

README = (
    (Path(__file__).parents[2] / "README.md")
    .read_text()
    .partition("## The information space")[2]
    .partition("\n## Operations\n")[0]
)
BLOCKS = re.findall(r"^```python\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_runs(block: str) -> None:
    assert "assert " in block
    exec(compile(block, "README", "exec", dont_inherit=True), {"__name__": "readme"})


def test_the_library_in_twenty_lines() -> None:
    assert len([line for line in BLOCKS[0].splitlines() if line]) <= 20


def test_every_event_type_stands_in_the_table_with_exactly_its_fields() -> None:
    rows = re.findall(r"^\| `([a-z.]+)` \| ([^|]*) \|", README, re.MULTILINE)
    told = {type: re.findall(r"`(\w+)`(\??)", fields) for type, fields in rows}
    assert told == {
        name: [
            (field, "" if field in _required(name) else "?")
            for field in sorted(kind.data.__struct_fields__, key="reason".__eq__)
        ]
        for name, kind in DEFAULT_KINDS.kinds.items()
    }


def _required(name: str) -> set[str]:
    """The fields without which the type's data do not fit, as the type itself says."""
    schema = msgspec.json.schema_components([DEFAULT_KINDS.kinds[name].data])[1]
    (struct,) = schema.values()
    return set(struct.get("required", ()))
