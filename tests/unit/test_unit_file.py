"""The systemd unit that is shipped: systemd itself has to find nothing wrong with it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tests.e2e.needs import need

UNIT = Path(__file__).parents[2] / "ops" / "shardd.service"
COMMAND = "/opt/shardd/bin/shardd"


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    verify = need("systemd-analyze")
    program = shutil.which("true")
    assert program is not None
    unit = tmp_path / UNIT.name
    assert COMMAND in UNIT.read_text()
    # It looks whether the command is there; everything else is as shipped.
    unit.write_text(UNIT.read_text().replace(COMMAND, program))
    done = subprocess.run([verify, "verify", str(unit)], capture_output=True, text=True, check=False)
    said = [line for line in done.stderr.splitlines() if UNIT.name in line]
    assert (said, done.returncode) == ([], 0), done.stderr


def test_its_command_is_one_of_ours() -> None:
    (line,) = [line for line in UNIT.read_text().splitlines() if line.startswith("ExecStart=")]
    words = line.removeprefix(f"ExecStart={COMMAND} ").split()
    asked = subprocess.run(
        [sys.executable, "-m", "shardd.cli.main", *words, "--help"], capture_output=True, text=True, check=False
    )
    assert (asked.returncode, "--listen" in asked.stdout) == (0, True), asked.stderr
