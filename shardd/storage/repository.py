"""One bare repository: its commits, its refs and its hardened configuration."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
import zlib
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from dulwich.file import FileLocked
from dulwich.object_store import DiskObjectStore
from dulwich.objects import Commit, ObjectID, ShaFile, Tree
from dulwich.refs import DiskRefsContainer, Ref

from shardd.core.limits import Limits, commit_too_large
from shardd.core.names import SPACES, is_id, is_oid
from shardd.errors import Corrupt, Unavailable
from shardd.storage.durable import sync_directories, sync_files, write_atomic, writing
from shardd.storage.git import Git, RefMove
from shardd.storage.locks import PACKED_REFS, locked
from shardd.storage.seams import Point, reached

STATE = "shardd"
"""The folder inside a bare repo that is ours: leases, locks, index."""

PACKED = 100
"""From so many on, objects are written as one pack: one sync in place of one each."""

PLAIN_REFS = "shardd.plainRefs"
"""The setting, perhaps repeated, of patterns of refs that a repo leaves to git."""

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
        self._objects = DiskObjectStore(
            where or str(path / "objects"), alternates=more if where else None, fsync_object_files=True
        )
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
        """Where the lock files are; see storage/locks.py."""
        return self.path / STATE / "locks"

    def commit(self, oid: str) -> bytes:
        """The bytes of a commit; Corrupt if there is none of that name."""
        try:
            kind, raw = self._objects.get_raw(ObjectID(oid.encode()))
        except KeyError:
            raise Corrupt(f"the object {oid} is missing from {self.path}", "run `git fsck`") from None
        if kind != Commit.type_num:
            raise Corrupt(f"the object {oid} in {self.path} is not a commit", "run `git fsck`")
        return raw

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
        return ObjectID(oid.encode()) in self._objects

    def strays(self, needed: Container[str]) -> int:
        """How many objects a push brings that are neither needed nor in the repo anyway; 0 outside its quarantine."""
        if self._incoming is None:
            return 0
        others = "".join(f"{oid}\n" for oid, _, _ in self._incoming.stored() if oid not in needed)
        if not others:
            return 0
        said = Git(self.path).run("cat-file", "--batch-check", stdin=others.encode())
        return sum(line.endswith(b" missing") for line in said.splitlines())

    def write_commits(self, raws: Iterable[bytes]) -> None:
        """Store commits, each synced, and the directories that name them."""
        written = [ShaFile.from_raw_string(Commit.type_num, raw) for raw in raws]
        with writing(self.path):
            if len(written) >= PACKED:
                self._write_pack(written)
            else:
                for each in written:
                    self._write_loose(each)
        self.sync_objects(each.id.decode() for each in written)

    def write_empty_tree(self) -> None:
        tree = Tree()
        with writing(self.path):
            self._write_loose(tree)
        self.sync_objects([tree.id.decode()])

    def _write_loose(self, each: ShaFile) -> None:
        # Not by dulwich, which locks the object by a file that a killed process leaves for ever, in the way of whoever
        # writes the same object again, and of fsck. Git knows the names of its own temporary files, and prunes them.
        name = each.id.decode()
        path = self.path / "objects" / name[:2] / name[2:]
        path.parent.mkdir(exist_ok=True)
        try:
            os.utime(path)  # there already, and now too young to be pruned
        except (FileNotFoundError, PermissionError):
            write_atomic(path, each.as_legacy_object(), mode=0o444, prefix="tmp_obj_")

    def _write_pack(self, written: Sequence[ShaFile]) -> None:
        objects: list[tuple[ShaFile, str | None]] = [(each, None) for each in written]
        try:
            self._objects.add_objects(objects)
        except FileLocked as locked:
            # The pack is named after its commits, which only the holder of their space's lock can be writing.
            Path(os.fsdecode(locked.lockfilename)).unlink()
            self._objects.add_objects(objects)

    def sync_objects(self, oids: Iterable[str]) -> None:
        """Sync the directories in which git may have put these objects, loose or in a pack."""
        objects = self.path / "objects"
        with writing(objects):
            sync_directories([*(objects / prefix for prefix in {oid[:2] for oid in oids}), objects / "pack", objects])

    def sync_push(self, moves: Sequence[RefMove], events: Sequence[str]) -> None:
        """Like sync_objects, for all that a push brought. events: the commits that go to spaces, each on its own."""
        known = set(events)
        others = [move.new for move in moves if move.new is not None and move.new not in known]
        if others:
            listed = self.git.run("rev-list", "--objects", "--no-object-names", *others, "--not", "--all")
            known.update(listed.decode().split())
        self.sync_objects(known)

    def read_ref(self, ref: str) -> str | None:
        """Where a ref stands, None if it does not exist. A symbolic ref reads as `ref: TARGET`."""
        try:
            found = self._refs.read_ref(Ref(ref.encode()))
        except (OSError, ValueError) as error:
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
        """Full names and oids of the refs whose names begin with `prefix` (a folder)."""
        lines = self.git.run("for-each-ref", "--format=%(refname) %(objectname)", prefix).decode().splitlines()
        return dict(line.split(" ", 1) for line in lines)

    def move_refs(self, moves: Sequence[RefMove], *, locks: Sequence[int] = ()) -> None:
        """Move refs by compare-and-swap, all or none, and sync the directories that name them.

        locks: descriptors of the space locks held; git inherits them. They prove that what still locks these refs after
        git has waited for it was left by a killed git: it is removed, and the move tried once more. (Not before: a
        `git gc` by hand may hold such a lock for a moment.)
        """
        with ExitStack() as stack:
            deleting = any(move.new is None for move in moves)
            if deleting and locks:
                # A deletion locks packed-refs, of which there is one for all spaces. Taken last, and for this alone.
                locks = [*locks, *stack.enter_context(locked(self.locks, [PACKED_REFS]))]
            reached(Point.BEFORE_MOVE)
            try:
                self.git.move_refs(moves, pass_fds=locks)
            except Unavailable:
                if not locks or not self._unlock_git(moves, deleting=deleting):
                    raise
                self.git.move_refs(moves, pass_fds=locks)
            reached(Point.AFTER_MOVE)
        directories = {self.path / folder for move in moves for folder in Path(move.ref).parents}
        with writing(self.path):
            sync_directories(sorted(directories, reverse=True))

    def _unlock_git(self, moves: Sequence[RefMove], *, deleting: bool) -> bool:
        """Remove the lock files by which git would refuse these moves; whether there were any."""
        names = [f"{move.ref}.lock" for move in moves]
        if self.read_ref("HEAD") in {f"ref: {move.ref}" for move in moves}:
            names.append("HEAD.lock")  # git locks HEAD along with the branch that it points at
        if deleting:
            names += ["packed-refs.lock", "packed-refs.new"]
        found = False
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                (self.path / name).unlink()
                found = True
        return found

    def point_head(self, ref: str) -> None:
        """Make HEAD point at `ref`. Synced, which git-symbolic-ref(1) is not: an empty HEAD is no repository."""
        with writing(self.path):
            write_atomic(self.path / "HEAD", f"ref: {ref}\n".encode(), mode=0o644)

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
                raise commit_too_large(oid, size, largest)
            raw = self.commit(oid)
            found.append((oid, raw))
            oid = first_parent(raw)
        return found[::-1], True

    def history(self, newest: str, *, after: str | None = None) -> Iterator[tuple[str, bytes]]:
        """Like Git.commits; a short way is read in this process, a long one streamed from git."""
        if after is not None:
            near, whole = self.chain(newest, after, at_most=NEAR)
            if whole:
                return iter(near)
        return self.git.commits(newest, after=after)


def first_parent(raw: bytes) -> str | None:
    """The first parent that a commit names; None for a root."""
    start = raw.find(b"\nparent ", 0, 200)
    if start < 0:
        return None
    return raw[start + 8 : raw.index(b"\n", start + 8)].decode("ascii", "replace")


def hardened(limits: Limits, *, hooks: str) -> dict[str, str]:
    """The configuration of an authoritative repo. hooks: the value of core.hooksPath."""
    return {
        "core.hooksPath": hooks,
        "core.fsync": "objects,derived-metadata,reference",
        "core.fsyncMethod": "fsync",
        "core.useReplaceRefs": "false",
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
    """Make a hardened bare repo at `path`; its objects hold the empty tree. False if something is there already.

    It is built beside and renamed into place, so that a half-made one is never seen and two makers do not meet.
    """
    draft = Path(tempfile.mkdtemp(prefix=".new-", dir=path.parent))
    try:
        git = Git(draft)
        git.run("init", "--quiet", "--bare", "--object-format=sha1", "--template=", str(draft))
        for name, value in hardened(limits, hooks=hooks).items():
            git.run("config", name, value)
        (draft / STATE).mkdir(mode=0o700)
        with Repository(draft) as repository:
            repository.write_empty_tree()
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
