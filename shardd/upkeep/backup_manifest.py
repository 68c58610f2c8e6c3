"""What a backup says of itself, in its file BACKUP, and whether it is so."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from shardd.authority.lease_store import LeaseStore
from shardd.core.refs import lease_ref, space_ref
from shardd.errors import Corrupt, Misuse, SharddError, Unavailable
from shardd.files.access import AccessFiles
from shardd.files.durable import write_atomic
from shardd.git.plain_refs import PLAIN_REFS
from shardd.git.repository import STATE, Repository
from shardd.upkeep.mirror import HOOKS
from shardd.version import VERSION

FORMAT = 2
MARKER = "BACKUP"
FILES = "files"

_KINDS = ("access.toml", "config.toml", "user_ca_keys", "revoked_keys", "keys", "host_keys", "site-hooks")


class SavedRepo(msgspec.Struct, frozen=True):
    """head: what HEAD holds; plain: patterns of refs left to git

    refs: SHA-256 of all refs; leases: SHA-256 of the file of each space
    """

    head: str
    plain: list[str]
    refs: str
    leases: dict[str, str]


class Marker(msgspec.Struct, frozen=True):
    """made: when the last run ended, RFC 3339; files: SHA-256 of each

    changing: what a run that was cut off was writing, and may be as before or as after
    left_out: repos that could not be copied at all, and why
    """

    made: str
    source: str
    files: dict[str, str]
    repos: dict[str, SavedRepo]
    changing: list[str] = []
    left_out: dict[str, str] = {}
    format: int = FORMAT
    shardd: str = VERSION


class _First(msgspec.Struct):
    """All that every format says."""

    format: int
    made: str = ""
    source: str = ""
    shardd: str = ""


def read_marker(source: Path) -> Marker:
    """What a folder says about the backup that it is; Misuse if it is none."""
    path = source / MARKER
    try:
        raw = path.read_bytes()
        first = msgspec.json.decode(raw, type=_First)
        if first.format == 1:
            return _undigested(source, first)
        if first.format != FORMAT:
            raise Misuse(f"{source} is a backup of format {first.format}", "use the version of shardd that made it")
        return msgspec.json.decode(raw, type=Marker)
    except (FileNotFoundError, NotADirectoryError):
        raise Misuse(
            f"{source} is not a backup: it has no {MARKER}", "name a folder that `shardd backup` made"
        ) from None
    except OSError as error:
        raise Unavailable(f"{path} cannot be read: {error.strerror or error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        mend = "restore another copy of the backup, or back up into a new folder and keep this one"
        raise Corrupt(f"{path} does not read: {error}", mend) from None


def _undigested(source: Path, first: _First) -> Marker:
    """For format 1, which says nothing of what it holds: all may be as it is, but must be of one piece."""
    repos = {path.name.removesuffix(".git"): LeaseStore(path / STATE) for path in (source / "repos").glob("*.git")}
    return Marker(
        made=first.made,
        source=first.source,
        shardd=first.shardd,
        files=dict.fromkeys(files_in(source / FILES), ""),
        repos={repo: SavedRepo("", [], "", dict.fromkeys(leases.spaces(), "")) for repo, leases in repos.items()},
        changing=[FILES, *map(place_of, repos)],
    )


def write_marker(dest: Path, marker: Marker) -> None:
    write_atomic(dest / MARKER, msgspec.json.encode(marker) + b"\n")


def place_of(repo: str) -> str:
    """Where a repo lies in a backup."""
    return f"repos/{repo}.git"


def saved_repo(copy: Repository, refs: Mapping[str, str]) -> SavedRepo:
    """What the repo of a backup holds now. refs: all of its refs"""
    leases = LeaseStore(copy.state)
    files = {space: leases.path(space) for space in leases.spaces()}
    digests = {space: digest(path.read_bytes()) for space, path in files.items() if path.exists()}
    return SavedRepo(_head(copy.path), copy.git.values(PLAIN_REFS), _digest_of(refs), digests)


def lacking(source: Path, marker: Marker) -> Iterator[str]:
    """What the backup has lost, or what of it is not as it was saved."""
    yield from _lacking_files(source / FILES, marker)
    for repo, saved in marker.repos.items():
        place = place_of(repo)
        yield from lacking_in_repo(source / place, saved, whole=place not in marker.changing)


def _lacking_files(files: Path, marker: Marker) -> Iterator[str]:
    here = files_in(files)
    if FILES in marker.changing:  # each is as before or as after: what a server cannot be without must be there
        try:
            AccessFiles(files).load()
        except SharddError as error:
            yield error.message
        keys = (name for name in marker.files if name.startswith("host_keys/"))
        yield from (f"{FILES}/{name} is missing" for name in keys if not here.get(name, (b"", 0))[0])
        return
    for name, saved in marker.files.items():
        if name not in here:
            yield f"{FILES}/{name} is missing"
        elif digest(here[name][0]) != saved:
            yield f"{FILES}/{name} is not what was saved"


def lacking_in_repo(path: Path, saved: SavedRepo, *, whole: bool) -> Iterator[str]:
    """The same of one repo. whole: False where a run may have changed it and was cut off"""
    place = f"repos/{path.name}"
    parts = [name for name in ("", "HEAD", "config", "objects", "refs") if not (path / name).exists()]
    if parts:
        yield f"{place}/{parts[0]}".rstrip("/") + " is missing"
        return
    if whole and _head(path) != saved.head:
        yield f"{place}/HEAD is not what was saved"
        return
    try:
        with Repository(path) as copy:
            refs = copy.refs_below("refs/")
            yield from _lacking_refs(copy, place, refs, saved, whole=whole)
            settings = copy.git.values("core.hooksPath"), copy.git.values(PLAIN_REFS)
            if settings[0] != [HOOKS] or (whole and settings[1] != saved.plain):
                yield f"{place}/config is not what was saved"
    except SharddError as error:
        yield f"{place}: {error.message}"


def _lacking_refs(
    copy: Repository, place: str, refs: Mapping[str, str], saved: SavedRepo, *, whole: bool
) -> Iterator[str]:
    leases = LeaseStore(copy.state)
    complete = True
    for space, known in saved.leases.items():
        record, file = leases.load(space), f"{place}/shardd/leases/{space}"
        if record is None:
            yield f"{file} is missing"
        elif whole and digest(leases.path(space).read_bytes()) != known:
            yield f"{file} is not what was saved"
        for ref in (space_ref(space), *([lease_ref(space)] if record and record.journal else [])):
            if ref not in refs:
                complete = False
                yield f"{ref} of {place} is missing"
    if whole and complete and _digest_of(refs) != saved.refs:
        yield f"the refs of {place} are not what was saved"
    absent = copy.absent(refs.values())
    for ref, oid in refs.items():
        if oid in absent:
            yield f"{ref} of {place} names {oid[:12]}, which is missing"


def files_in(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Content and mode of the access files and keys below a folder."""
    found: dict[str, tuple[bytes, int]] = {}
    try:
        for name in _KINDS:
            path = folder / name
            for each in sorted(path.iterdir()) if path.is_dir() else [path]:
                if each.is_file() and not each.name.startswith("."):
                    found[str(each.relative_to(folder))] = each.read_bytes(), each.stat().st_mode & 0o777
    except OSError as error:
        raise Unavailable(f"{error.filename} cannot be read: {error.strerror}", "run `shardd doctor`") from None
    return found


def write_files(wanted: Mapping[str, tuple[bytes, int]], folder: Path) -> None:
    """Write these files below a folder; each is replaced whole."""
    for name, (data, mode) in wanted.items():
        path = folder / name
        path.parent.mkdir(mode=0o700, exist_ok=True)
        write_atomic(path, data, mode=mode)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _digest_of(refs: Mapping[str, str]) -> str:
    # By name and not by file: git may keep the same refs in another way, as after `git pack-refs`.
    lines = sorted(f"{ref} {oid}\n".encode("utf-8", "surrogateescape") for ref, oid in refs.items())
    return digest(b"".join(lines))


def _head(path: Path) -> str:
    return (path / "HEAD").read_bytes().decode("utf-8", "surrogateescape").strip()
