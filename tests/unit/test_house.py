"""The house: which floor may import which, what the core may import, and that what is declared is used."""

from __future__ import annotations

import ast
import configparser
import re
import sys
from collections import Counter
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "shardd"

# Each floor, and all that it may import of the others.
_BELOW = {"core", "files", "git", "authority"}
FLOORS = {
    "core": set(),
    "files": {"core"},
    "git": {"core", "files"},
    "authority": {"core", "files", "git"},
    "logs": _BELOW,
    "upkeep": _BELOW,
    "commands": _BELOW | {"logs", "upkeep"},
    "service": _BELOW | {"logs", "upkeep", "commands"},
    "client": _BELOW | {"logs"},
    "wiki": _BELOW | {"logs", "client"},
    "cli": _BELOW | {"logs", "upkeep", "commands", "service", "client", "wiki"},
}
EVERYBODY = {"errors", "version"}
CORE_STDLIB = {
    "__future__", "base64", "bisect", "collections", "contextlib", "dataclasses", "datetime", "decimal", "difflib",
    "enum", "functools", "hashlib", "itertools", "json", "math", "operator", "re", "struct", "types", "typing",
    "unicodedata", "uuid", "zlib",
}  # fmt: skip
CORE_LIBRARIES = {"immutables", "jsonschema_rs", "msgspec", "rfc8785"}


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if "hooks" not in path.relative_to(PACKAGE).parts)


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write absolute imports"
            module = node.module or ""
            found |= {f"{module}.{alias.name}" for alias in node.names} | {module}
    return found


def layer(path: Path) -> str:
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else ""


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def test_arrows_point_down() -> None:
    wrong = []
    for path in modules():
        here = layer(path)
        if not here:
            continue
        for name in imports(path):
            parts = name.split(".")
            if parts[0] == "shardd" and len(parts) > 1 and parts[1] not in FLOORS[here] | EVERYBODY | {here}:
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert not wrong


def test_no_circle_between_modules() -> None:
    """Imports within functions and for types count as well: whoever reads one module must not need the other first."""
    names = {name_of(path): path for path in modules()}
    below = {name: imports(path) & names.keys() - {name} for name, path in names.items()}
    try:
        TopologicalSorter(below).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


def test_no_name_twice() -> None:
    names = Counter(path.stem for path in modules() if path.stem != "__init__")
    assert not [name for name, count in names.items() if count > 1]


def test_core_is_pure() -> None:
    wrong = []
    for path in (PACKAGE / "core").rglob("*.py"):
        for name in imports(path):
            top = name.split(".")[0]
            if top not in CORE_STDLIB | CORE_LIBRARIES | {"shardd"}:
                wrong.append(f"{path.name} imports {name}")
    assert not wrong


def test_only_one_module_runs_git() -> None:
    """Spawning is for git/program.py, for the server's git children, and for the user's own git and ssh at her side."""
    allowed = {"git/program.py", "service/git_child.py", "client/users_ssh.py"}
    spawning = {
        str(path.relative_to(PACKAGE))
        for path in modules()
        if layer(path) != "cli" and re.search(r"\bsubprocess\b|posix_spawn|os\.exec", path.read_text())
    }
    assert spawning <= allowed


def test_declared_dependencies_are_imported_and_imports_declared() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    declared = {re.split(r"[ ><=]", line)[0] for line in config["options"]["install_requires"].split("\n") if line}
    used = {name.split(".")[0] for path in modules() for name in imports(path)}
    third_party = {name for name in used if name not in sys.stdlib_module_names and name != "shardd"}
    assert third_party == declared


def test_dependencies_have_lower_bounds() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    extras = config["options.extras_require"]
    lines = config["options"]["install_requires"].split("\n") + [x for e in extras for x in extras[e].split("\n")]
    assert all(">=" in line for line in lines if line)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_modules_are_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 420


def test_every_module_says_what_it_is() -> None:
    silent = [str(p) for p in modules() if p.stat().st_size and ast.get_docstring(ast.parse(p.read_text())) is None]
    assert not silent
