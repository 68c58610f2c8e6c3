"""One bare repository: its commits, its refs and its hardened configuration."""

from __future__ import annotations

import contextlib
import errno
import shutil
import tempfile
import zlib
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from dulwich.refs import DiskRefsContainer, Ref

from shardd.core.limits import Limits, TooLarge
from shardd.core.names import is_id, is_oid
from shardd.core.objects import first_parent
from shardd.core.push_facts import Candidate
from shardd.core.refs import SPACES, Change
from shardd.errors import Corrupt, Unavailable
from shardd.files.crash_points import Point, reached
from shardd.files.durable import sync_directories, sync_files, write_atomic, writing
from shardd.files.space_locks import PACKED_REFS, Lock, locked
from shardd.git import ref_locks
from shardd.git.aside import aside
from shardd.git.kept_packs import KeptPacks
from shardd.git.object_reader import Objects
from shardd.git.pack_file import Kind
from shardd.git.program import Git

STATE = "shardd"
"""The folder inside a bare repo that is ours: leases, locks, index."""

_PATIENCE = 5.0
"""Seconds to wait for another deletion, as git waits for a lock: the spaces of this one are held meanwhile."""

_TRIES = 3  # to move refs, where git was killed at it

NEAR = 64
"""Up to so many commits are read in this process; beyond, starting git pays off."""


class Repository:
    """A bare repo at `path`. quarantine: the variables by which git shows a hook the incoming objects."""

    def __init__(self, path: Path, *, quarantine: Mapping[str, str] | None = None) -> None:
        self.path = path
        self.git = Git(path, quarantine=quarantine)
        where = (quarantine or {}).get("GIT_OBJECT_DIRECTORY")
        self._incoming = None if where is None else Git(path, quarantine={"GIT_OBJECT_DIRECTORY": where})
        more = [a for a in (quarantine or {}).get("GIT_ALTERNATE_OBJECT_DIRECTORIES", "").split(":") if a]
        self._objects = Objects(Path(where) if where else path / "objects", more if where else ())
        self._loose = [Path(folder) for folder in (where, str(path / "objects")) if folder]
        self._refs = DiskRefsContainer(str(path))

    def close(self) -> None:
        self._objects.close()

    def __enter__(self) -> Repository:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def state(self) -> Path:
        return self.path / STATE

    @property
    def locks(self) -> Path:
        """Where the lock files are; see files/space_locks.py."""
        return self.path / STATE / "locks"

    def commit(self, oid: str) -> bytes:
        """The bytes of a commit; Corrupt if there is none of that name."""
        found = self._objects.raw(oid)
        if found is None:
            raise self.broken_off(oid)
        kind, raw = found
        if kind != Kind.COMMIT:
            raise Corrupt(f"the object {oid} in {self.path} is not a commit", "run `git fsck`")
        return raw

    @property
    def shallow(self) -> bool:
        """Whether some histories were not fetched whole."""
        return (self.path / "shallow").exists()

    def broken_off(self, oid: str) -> Corrupt:
        """What it means that a log does not go on at the commit `oid`, or before it."""
        if self.shallow:
            said = f"{self.path} is a shallow clone: the history up to {oid[:12]} was not fetched"
            return Corrupt(said, "run `git fetch --unshallow`")
        return Corrupt(f"the object {oid} is missing from {self.path}", "run `git fsck`")

    def header(self, oid: str) -> tuple[str, int] | None:
        """Kind and size of an object, unread: a few bytes of a pack may spell gigabytes. None if it is missing."""
        for folder in self._loose:
            try:
                with (folder / oid[:2] / oid[2:]).open("rb") as file:
                    kind, _, size = (
                        zlib.decompressobj().decompress(file.read(128), 64).partition(b"\0")[0].partition(b" ")
                    )
                return kind.decode("ascii"), int(size)
            except FileNotFoundError:
                continue
            except (OSError, ValueError, zlib.error):
                raise Corrupt(f"the object {oid} in {self.path} does not read", "run `git fsck`") from None
        said = self.git.run("cat-file", "--batch-check", stdin=f"{oid}\n".encode()).decode().split()
        return None if said[-1] == "missing" else (said[1], int(said[2]))

    def is_commit(self, oid: str) -> bool:
        """Whether `oid` names a commit that is here."""
        return (self.header(oid) or ("", 0))[0] == "commit"

    def has(self, oid: str) -> bool:
        return self._objects.has(oid)

    def absent(self, oids: Iterable[str]) -> set[str]:
        """Those of them that name no object here."""
        wanted = sorted(set(oids))
        said = self.git.run("cat-file", "--batch-check", stdin="".join(f"{oid}\n" for oid in wanted).encode())
        return {line[: -len(" missing")].decode() for line in said.splitlines() if line.endswith(b" missing")}

    def strays(self, needed: Container[str]) -> int:
        """How many objects a push brings that are neither needed nor in the repo anyway; 0 outside its quarantine."""
        if self._incoming is None:
            return 0
        others = "".join(f"{oid}\n" for oid, _, _ in self._incoming.stored() if oid not in needed)
        if not others:
            return 0
        said = Git(self.path).run("cat-file", "--batch-check", stdin=others.encode())
        return sum(line.endswith(b" missing") for line in said.splitlines())

    def secure(self, kept: KeptPacks, events: Sequence[Candidate], moves: Sequence[Change]) -> None:
        """Put into a pack under a keep, and on disk, what git has taken in: events, and all that other refs will name.

        Unavailable if something has gone already: then nothing has moved yet.
        """
        oids = [event.oid for event in events]
        tips = [move.new for move in moves if move.new is not None]
        others: list[str] = []
        if tips:
            listed = self.git.run("rev-list", "--objects", "--no-object-names", *tips, "--not", "--all")
            others = listed.decode().split()
        if others or len(events) > NEAR:
            with aside(self.state) as folder:
                wanted = "".join(f"{oid}\n" for oid in [*oids, *others])
                said = self.git.run("pack-objects", "--quiet", str(folder / "pack/pack"), stdin=wanted.encode())
                kept.take(folder / "pack", said.decode().split())
        else:
            kept.write(event.raw for event in events)
        self._drop_loose([*oids, *others])

    def _drop_loose(self, oids: Iterable[str]) -> None:
        """As git-prune-packed(1) does, for objects that were just packed."""
        for oid in oids:
            with contextlib.suppress(OSError):
                (self.path / "objects" / oid[:2] / oid[2:]).unlink()

    def read_ref(self, ref: str) -> str | None:
        """Where a ref stands, None if it does not exist. A symbolic ref reads as `ref: TARGET`."""
        try:
            found = self._refs.read_ref(Ref(ref.encode("utf-8", "surrogateescape")))
        except Exception as error:  # dulwich knows more kinds than it says
            raise Unavailable(f"{ref} in {self.path} cannot be read: {error}", "run `shardd doctor`") from None
        if found is None:
            return None
        text = found.decode("ascii", "replace").strip()
        if not is_oid(text) and not text.startswith("ref: "):
            raise Corrupt(f"{ref} in {self.path} holds {text[:60]!r}", "restore it from a backup")
        return text

    def spaces(self) -> list[str]:
        """The spaces of this repo, by name. A branch beside them whose name no space can have is none."""
        names = (ref.removeprefix(SPACES) for ref in self.refs_below(SPACES))
        return sorted(name for name in names if is_id(name))

    def refs_below(self, prefix: str) -> dict[str, str]:
        """Full names and oids of the refs whose names begin with `prefix` (a folder).

        A name is bytes: what is not UTF-8 in it is kept as lone surrogates (PEP 383).
        """
        listed = self.git.run("for-each-ref", "--format=%(objectname) %(refname)", prefix)
        # No name holds a line feed or a space (git-check-ref-format(1)), but many another end of a line.
        lines = listed.decode("utf-8", "surrogateescape").split("\n")[:-1]
        return {ref: oid for oid, _, ref in (line.partition(" ") for line in lines)}

    def move_refs(
        self,
        moves: Sequence[Change],
        *,
        locks: Sequence[Lock] = (),
        verified: Mapping[str, str | None] | None = None,
        decided: Callable[[], None] | None = None,
    ) -> None:
        """Move refs by compare-and-swap, all or none, and sync the directories that name them.

        Git may be killed, and then has moved all of the refs, some or none. What it did is looked at: the rest is moved
        after it, and an error is raised only where a ref has stayed where it was. locks: the locks of the refs, which
        git inherits; verified, decided: see Git.move_refs
        """
        once = _Once(decided)
        left = list(moves)
        with ExitStack() as stack:
            deleting = any(move.new is None for move in moves)
            if deleting and locks:
                # A deletion locks packed-refs, of which there is one for all spaces. Taken last, and for this alone.
                locks = [*locks, *stack.enter_context(locked(self.locks, [PACKED_REFS], patience=_PATIENCE))]
            refs = [*(verified or {}), *(move.ref for move in moves)]
            lock_files = ref_locks.names(refs, head=self.read_ref("HEAD"), deleting=deleting)
            if locks:
                ref_locks.clear(self.path, lock_files)
            for _ in range(_TRIES):
                ref_locks.make_folders(self.path, refs)
                try:
                    self.git.move_refs(
                        left, verified=verified, pass_fds=[lock.descriptor for lock in locks], decided=once
                    )
                    left = []
                except Unavailable as error:
                    if locks:
                        ref_locks.clear(self.path, lock_files)
                    if once.failed:
                        raise
                    left = [move for move in left if self.read_ref(move.ref) != move.new]
                    blocked = ref_locks.blocked(self.path, lock_files)
                    failed = blocked or error
                    expected = {move.ref: move.old for move in left} | dict(verified or {})
                    if blocked or any(self.read_ref(ref) != oid for ref, oid in expected.items()):
                        break
                if not left:
                    break
            if left:
                raise failed if len(left) == len(moves) else _half_moved(left[0].ref, failed)
            reached(Point.AFTER_MOVE)
        self._sync_ref_folders(moves)

    def clear_locks(self, refs: Iterable[str]) -> None:
        """Remove what a killed git of ours has left locked of these refs, whose locks are held."""
        ref_locks.clear(self.path, ref_locks.names(refs, head=self.read_ref("HEAD"), deleting=False))

    def _sync_ref_folders(self, moves: Sequence[Change]) -> None:
        directories = {self.path / folder for move in moves for folder in Path(move.ref).parents}
        with writing(self.path):
            sync_directories(sorted(directories, reverse=True))

    def sync_refs(self, moves: Sequence[Change]) -> None:
        """Sync what is seen of moves that somebody else may have carried out. What they name was on disk before."""
        with writing(self.path):
            sync_files([*(self.path / move.ref for move in moves), self.path / "packed-refs"])
        self._sync_ref_folders(moves)

    def point_head(self, ref: str) -> None:
        """Make HEAD point at `ref`. Synced, which git-symbolic-ref(1) is not: an empty HEAD is no repository."""
        with writing(self.path):
            write_atomic(self.path / "HEAD", f"ref: {ref}\n".encode(), mode=0o644)

    def lend_head(self, ref: str) -> None:
        """Make HEAD point at `ref`, which is about to be made, unless it points at something that exists.

        A clone checks out what HEAD names: the first space. It is done before that exists: a crash between leaves a
        HEAD that still names nothing, and the next space takes it over.
        """
        checked_out = (self.read_ref("HEAD") or "").removeprefix("ref: ")
        if not checked_out or self.read_ref(checked_out) is None:
            self.point_head(ref)

    def chain(
        self, newest: str, stop: str | None, *, at_most: int, largest: int | None = None
    ) -> tuple[list[tuple[str, bytes]], bool]:
        """(oid, bytes) along first parents from after `stop` up to `newest`, oldest first, and whether `stop` was met.

        Without a `stop` the chain is whole when it reaches a root. At most `at_most` commits are looked at.
        largest: the bytes that one may have; Rejected `too-large` if one has more
        """
        found: list[tuple[str, bytes]] = []
        oid: str | None = newest
        while oid != stop:
            if oid is None or len(found) >= at_most:
                return found[::-1], False
            if largest is not None and (size := (self.header(oid) or ("", 0))[1]) > largest:
                raise TooLarge(oid, size, largest)
            raw = self.commit(oid)
            found.append((oid, raw))
            oid = first_parent(raw)
        return found[::-1], True

    def leading_to(self, raw: bytes, older: str | None) -> list[bytes] | None:
        """The commits after `older` that end with the one of these bytes; None if it does not go on from there, or one
        of them is gone. older: None for nothing at all
        """
        found = [raw]
        parent = first_parent(raw)
        while parent is not None and parent != older and self.has(parent):
            found.append(self.commit(parent))
            parent = first_parent(found[-1])
        return found if parent == older else None

    def history(self, newest: str, *, after: str | None = None) -> Iterator[tuple[str, bytes]]:
        """Like Git.commits; a short way is read in this process, a long one streamed from git."""
        if after is not None:
            near, whole = self.chain(newest, after, at_most=NEAR)
            if whole:
                return iter(near)
        return self.git.commits(newest, after=after)


class _Once:
    """Calls a function at most once, and remembers whether that failed."""

    def __init__(self, function: Callable[[], None] | None) -> None:
        self._function = function
        self.called = False
        self.failed = False

    def __call__(self) -> None:
        if not self.called and self._function is not None:
            self.called = self.failed = True
            self._function()
            self.failed = False
        reached(Point.BEFORE_MOVE)


def _half_moved(ref: str, why: Unavailable) -> Unavailable:
    return Unavailable(
        f"the move was begun, and {ref} could not be moved yet: {why.message}",
        "look before you try again: the next call on the space brings it to its end",
    )


def hardened(limits: Limits, *, hooks: str) -> dict[str, str]:
    """The configuration of an authoritative repo. hooks: the value of core.hooksPath."""
    return {
        "core.hooksPath": hooks,
        "core.fsync": "objects,derived-metadata,reference",
        "core.fsyncMethod": "fsync",
        "core.useReplaceRefs": "false",
        "core.commitGraph": "false",
        "core.logAllRefUpdates": "false",
        "gc.auto": "0",
        "maintenance.auto": "false",
        "receive.autogc": "false",
        "receive.advertisePushOptions": "true",
        "receive.procReceiveRefs": "refs/",
        "receive.fsckObjects": "true",
        "receive.maxInputSize": str(limits.pack_bytes),
        "receive.denyDeletes": "true",
        "receive.denyNonFastForwards": "true",
        "uploadpack.allowFilter": "true",
    }


def create_bare(path: Path, *, hooks: str, limits: Limits) -> bool:
    """Make a hardened bare repo at `path`. False if something is there already.

    It is built beside and renamed into place, so that a half-made one is never seen and two makers do not meet.
    """
    draft = Path(tempfile.mkdtemp(prefix=".new-", dir=path.parent))
    try:
        git = Git(draft)
        git.run("init", "--quiet", "--bare", "--object-format=sha1", "--template=", str(draft))
        with (draft / "config").open("a") as config:  # a process for each would take longer than all the rest
            for name, value in hardened(limits, hooks=hooks).items():
                section, _, key = name.partition(".")
                config.write(f'[{section}]\n\t{key} = "{value}"\n')
        (draft / STATE).mkdir(mode=0o700)
        sync_files([draft / "config", draft / "HEAD"])
        sync_directories([draft, draft / "objects", draft / "refs"])
        if path.exists():
            return False
        try:
            draft.rename(path)
        except OSError as error:
            if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                return False
            raise
        sync_directories([path.parent])
        return True
    finally:
        shutil.rmtree(draft, ignore_errors=True)
