"""The examples in Python of the README and the manual run as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCKS = [
    pytest.param(block, id=f"{path.stem}-{number}")
    for path in (ROOT / "README.md", *sorted((ROOT / "shardd" / "manual").glob("*.md")))
    for number, block in enumerate(re.findall(r"^```python\n(.*?)^```$", path.read_text(), re.DOTALL | re.MULTILINE), 1)
]


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_runs(block: str) -> None:
    assert "assert " in block
    exec(compile(block, "manual", "exec", dont_inherit=True), {"__name__": "manual"})


def test_the_library_in_twenty_lines() -> None:
    assert [block.id for block in BLOCKS][:2] == ["folds-1", "python-1"]
    (block,) = (block.values[0] for block in BLOCKS if block.id == "python-1")
    assert len([line for line in str(block).splitlines() if line]) <= 20
