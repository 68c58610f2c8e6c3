"""A mirror: a bare repo that takes no pushes, and whose refs all move at once.

Git moves the refs of one transaction file by file; killed in between, it leaves a log without the journal of its
leases, or a journal ahead of its log. Here all refs stand in `packed-refs`, which is replaced whole: whoever looks, by
git or by us, sees them as of one moment. Nobody else writes a mirror; its owner holds a lock of its own, whose
descriptor the git children inherit, so what still lies about when that lock is had was left by a killed run.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from shardd.core.limits import Limits
from shardd.errors import Unavailable
from shardd.files.crash_points import Point, reached
from shardd.files.durable import write_atomic, writing
from shardd.git.plain_refs import PLAIN_REFS
from shardd.git.repository import NEAR, Repository, create_bare

HOOKS = "refused"
"""The core.hooksPath of a mirror: nothing is there, and without its hook a push gets no answer."""

_LEFT = (
    *("refs/**/*.lock", "*.lock", "packed-refs.new", ".*.????????", "shardd/leases/.*"),
    *("objects/tmp_*", "objects/??/tmp_obj_*", "objects/pack/tmp_*", "objects/pack/.tmp-*"),
    *("objects/pack/*.lock", "objects/info/*.lock", "objects/info/*/*.lock"),
)
_DRAFTS = ".new-*"  # of create_bare


def clear(folder: Path) -> None:
    """Remove the half-made mirrors that a killed run left in the folder of mirrors."""
    for draft in folder.glob(_DRAFTS):
        shutil.rmtree(draft, ignore_errors=True)


class Mirror:
    """The mirror at `path`, made if need be. lock: descriptor of the lock under which nobody else is at it"""

    def __init__(self, path: Path, *, lock: int) -> None:
        with writing(path):
            if not path.exists():
                create_bare(path, hooks=HOOKS, limits=Limits())
            for left in (each for pattern in _LEFT for each in path.glob(pattern)):
                left.unlink(missing_ok=True)
        self.repository = Repository(path)
        self._lock = lock

    def __enter__(self) -> Mirror:
        return self

    def __exit__(self, *_: object) -> None:
        self.repository.close()

    def refs(self) -> dict[str, str]:
        return self.repository.refs_below("refs/")

    def fetch(self, source: Path, oids: Iterable[str]) -> None:
        """Bring objects, and all that they stand on, which no ref names yet."""
        wanted = sorted(set(oids))
        if wanted:
            self.repository.git.fetch(source, wanted, pass_fds=[self._lock])

    def goes_on(self, old: str, new: str) -> bool:
        """Whether the commit `new` is `old` or follows on it."""
        return (
            old == new or self.repository.chain(new, old, at_most=NEAR)[1] or self.repository.git.is_ancestor(old, new)
        )

    def set_refs(self, refs: Mapping[str, str]) -> None:
        """Make these all the refs that there are, in one step. Their objects must be here."""
        path = self.repository.path
        if next(_loose(path), None) is not None:
            # As git keeps those that somebody has moved by hand: first the same refs, in the one file.
            self.repository.git.run("pack-refs", "--all", "--prune", pass_fds=[self._lock])
            left = next(_loose(path), None)
            if left is not None:
                raise Unavailable(f"{left} is a ref that git cannot pack", "remove it: a backup is not written by hand")
        lines = sorted((ref.encode("utf-8", "surrogateescape"), oid.encode("ascii")) for ref, oid in refs.items())
        packed = b"# pack-refs with: sorted \n" + b"".join(b"%s %s\n" % (oid, ref) for ref, oid in lines)
        reached(Point.BEFORE_MOVE)
        with writing(path):
            write_atomic(path / "packed-refs", packed, mode=0o644)
        reached(Point.AFTER_MOVE)

    def point_head(self, head: str) -> None:
        """Make HEAD point there, where it is the name of a ref."""
        if head.startswith("ref: ") and head != self.repository.read_ref("HEAD"):
            self.repository.point_head(head.removeprefix("ref: "))

    def plain_refs(self) -> list[str]:
        return self.repository.git.values(PLAIN_REFS)

    def set_plain_refs(self, patterns: list[str]) -> None:
        """Leave these refs to git; no other setting differs from repo to repo."""
        git, config = self.repository.git, self.repository.path / "config"
        there = self.plain_refs()
        if patterns == there:
            return
        draft = config.with_name(".config.draft000")
        with writing(config):
            shutil.copyfile(config, draft)
            try:
                if there:
                    git.run("config", "--file", str(draft), "--unset-all", PLAIN_REFS)
                for each in patterns:
                    git.run("config", "--file", str(draft), "--add", PLAIN_REFS, each)
                write_atomic(config, draft.read_bytes(), mode=0o644)
            finally:
                draft.unlink(missing_ok=True)


def _loose(path: Path) -> Iterator[Path]:
    """The refs that stand in files of their own, symbolic ones included."""
    return (each for each in (path / "refs").rglob("*") if not each.is_dir())
