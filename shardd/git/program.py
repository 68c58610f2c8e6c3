"""The only module that runs git, in an environment that is built from nothing.

A git child sees no user or system configuration, no inherited GIT_* variable and no terminal. What a hook must know
about a push in progress (the quarantine) is passed on explicitly.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO

from shardd.core.limits import TooLarge
from shardd.core.names import is_oid
from shardd.core.refs import Change
from shardd.errors import Corrupt, SharddError, Unavailable
from shardd.files.bounds import Bounds
from shardd.files.unwinding import undisturbed
from shardd.git.ref_locks import MARK

OLDEST = (2, 36)
_OURS = {"core.commitGraph": "false"}
"""A commit graph holds no time after 2514, and git, trusting it, then calls ancestors none."""

_PATIENT = {"core.filesRefLockTimeout": "5000", "core.packedRefsTimeout": "5000"}
"""Milliseconds to wait for a ref that another git has locked; by itself git waits 100."""

_ENDING = 1.0  # seconds for a git that ends
_BUFFER = 256 * 1024  # bytes read from a git at a time


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """All that a git child may know about its surroundings."""
    known = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": "/nonexistent",
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_OPTIONAL_LOCKS": "0",
    }
    known.update(extra or {})
    return known


def _configured(settings: Mapping[str, str]) -> dict[str, str]:
    """Variables that set them above any file."""
    found = {"GIT_CONFIG_COUNT": str(len(settings))}
    for at, (name, value) in enumerate(settings.items()):
        found |= {f"GIT_CONFIG_KEY_{at}": name, f"GIT_CONFIG_VALUE_{at}": value}
    return found


@cache
def executable() -> str:
    """The absolute path of git, or Unavailable."""
    found = shutil.which("git")
    if found is None:
        raise Unavailable("git is not installed", "install git 2.36 or newer, for example `apt-get install git`")
    return found


@cache
def version() -> tuple[int, ...]:
    """Of the installed git, like (2, 39, 5)."""
    said = subprocess.run([executable(), "version"], capture_output=True, text=True, check=False).stdout
    match = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", said)
    if match is None:
        raise Unavailable(f"git does not say its version: {said.strip()!r}")
    return tuple(int(part) for part in match.groups(default="0"))


def require_version() -> None:
    if version()[:2] < OLDEST:
        have = ".".join(map(str, version()))
        raise Unavailable(f"git {have} is too old", "install git 2.36 or newer")


_own: Callable[[], Bounds] | None = None


def bound_own(bounds: Callable[[], Bounds]) -> None:
    """Bound every git that this process starts from now on to look into a repo, as one does that serves others."""
    global _own
    _own = bounds


class Git:
    """Runs git on one repository. quarantine: variables besides, such as those that show a push's incoming objects."""

    def __init__(self, path: Path, *, quarantine: Mapping[str, str] | None = None) -> None:
        self.path = path
        self._environment = environment({"GIT_DIR": str(path), **_configured(_OURS), **(quarantine or {})})

    def run(self, *arguments: str, stdin: bytes = b"", pass_fds: Sequence[int] = ()) -> bytes:
        """Standard output of `git ARGUMENTS`; Unavailable, with what git said, if it fails."""
        done = self._run(arguments, stdin, pass_fds)
        if done.returncode != 0:
            said = done.stderr.decode(errors="replace").strip() or f"exit status {done.returncode}"
            raise Unavailable(f"git {_command(arguments)} failed on {self.path}: {said}", "run `shardd doctor`")
        return done.stdout

    def seen(self, *arguments: str) -> bytes | None:
        """Like `run`; None where git sees no repository at all."""
        done = self._run(arguments, b"", ())
        if done.returncode == 0:
            return done.stdout
        said = done.stderr.decode(errors="replace").strip()
        if "not a git repository" in said:
            return None
        raise Unavailable(f"git cannot use the repository at {self.path}: {said}")

    def ask(self, *arguments: str) -> bool:
        """Whether git exits 0 and not 1; any other status is an error, never an answer."""
        return self.found(*arguments) is not None

    def found(self, *arguments: str) -> bytes | None:
        """Like `run`; None where git exits 1."""
        done = self._run(arguments, b"", ())
        if done.returncode not in (0, 1):
            said = done.stderr.decode(errors="replace").strip()
            raise Unavailable(f"git {arguments[0]} failed on {self.path}: {said}", "run `shardd doctor`")
        return done.stdout if done.returncode == 0 else None

    def values(self, name: str) -> list[str]:
        """All values of a setting of the repository's configuration, in order. name: like section.name"""
        return self.settings().get(name.lower(), [])

    def settings(self) -> dict[str, list[str]]:
        """The repository's configuration: all values of each setting, in order, by its name in lower case."""
        found: dict[str, list[str]] = {}
        for each in self.run("config", "--local", "--null", "--list").split(b"\0")[:-1]:
            name, _, value = each.decode("utf-8", "surrogateescape").partition("\n")
            found.setdefault(name.lower(), []).append(value)
        return found

    def fetch(self, source: Path, oids: Iterable[str], *, pass_fds: Sequence[int]) -> None:
        """Fetch objects, and all that they stand on, from a repository on this machine; no ref moves. Unavailable if
        git refuses.

        They are checked on their way (git-fsck(1)), and that they are complete. pass_fds: as for move_refs
        """
        trust = ["-c", "safe.directory=*"]  # who owns the files is for the file system to say
        serve = shlex.join([executable(), *trust, "-c", "uploadpack.allowAnySHA1InWant=true", "upload-pack"])
        still = ["--no-tags", "--no-write-fetch-head", "--no-auto-maintenance"]
        self.run(
            *trust,
            *("-c", "fetch.fsckObjects=true"),
            *("fetch", *still, "--stdin", "--upload-pack", serve, str(source)),
            stdin="".join(f"{oid}\n" for oid in oids).encode(),
            pass_fds=pass_fds,
        )

    def is_ancestor(self, older: str, newer: str) -> bool:
        return self.ask("merge-base", "--is-ancestor", older, newer)

    def related(self, one: str, other: str) -> bool:
        return self.ask("merge-base", one, other)

    def move_refs(
        self,
        moves: Iterable[Change],
        *,
        verified: Mapping[str, str | None] | None = None,
        pass_fds: Sequence[int] = (),
        decided: Callable[[], None] | None = None,
    ) -> None:
        """All of the moves or, if one ref is not where its move expects it, none. Synced as core.fsync says.

        Unavailable says only that git failed: killed, it may have moved all of them, or some.
        verified: refs besides, and where each must stand, None for nowhere
        pass_fds: descriptors of the locks, which a child that outlives us must keep held
        decided: called when git holds all the refs and has found them where they are expected; where it raises, nothing
        moves
        """
        lines = [_verify_line(ref, oid) for ref, oid in (verified or {}).items()]
        lines += [_update_line(move) for move in moves]
        with subprocess.Popen(
            [executable(), "update-ref", "--stdin", "-z"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self._environment | _configured(_OURS | _PATIENT),
            pass_fds=tuple(pass_fds),
            umask=MARK,
        ) as child:
            if child.stdin is None or child.stdout is None or child.stderr is None:
                raise SharddError("pipes to git are missing")
            # Git lets go of the refs when its input ends without a commit: so it does when we are killed.
            with contextlib.suppress(BrokenPipeError):
                child.stdin.write((f"start\0{''.join(lines)}prepare\0").encode("utf-8", "surrogateescape"))
                child.stdin.flush()
            if b"prepare: ok\n" in (child.stdout.readline(), child.stdout.readline()):
                if decided is not None:
                    decided()
                with contextlib.suppress(BrokenPipeError):
                    child.stdin.write(b"commit\0")
                    child.stdin.flush()
            with contextlib.suppress(BrokenPipeError):
                child.stdin.close()
            said = child.stderr.read().decode(errors="replace").strip()
        if child.returncode != 0:
            said = said or f"exit status {child.returncode}"
            raise Unavailable(f"git update-ref failed on {self.path}: {said}", "run `shardd doctor`")

    def commits(
        self, tip: str, *, after: str | None = None, newest: int | None = None, largest: int | None = None
    ) -> Iterator[tuple[str, bytes]]:
        """(oid, bytes) along first parents, oldest first, ending with `tip`.

        after: leave out this commit and its ancestors; newest: only so many of the newest
        largest: the bytes that one may have; Rejected `too-large` if one has more
        """
        bounds = [tip] if after is None else [tip, f"^{after}"]
        if newest is not None:
            bounds.append(f"--max-count={newest}")
        listing = ["rev-list", "--first-parent", "--reverse", *bounds]
        with self._each(tip, listing, ["cat-file", "--batch", "--buffer"]) as stream:
            for header in _whole_lines(stream):
                oid, _, rest = header.decode("ascii").partition(" ")
                if not rest.startswith("commit "):
                    raise Corrupt(f"{oid} in {self.path} is not a readable commit ({rest.strip()})", "run `git fsck`")
                size = int(rest[7:])
                if largest is not None and size > largest:
                    raise TooLarge(oid, size, largest)
                raw = stream.read(size + 1)[:-1]
                if len(raw) != size:
                    raise Unavailable(f"git cat-file ended early on {self.path}")
                yield oid, raw

    def objects(self, tip: str, *, without: str | None = None) -> Iterator[tuple[str, str, int]]:
        """(oid, kind, bytes) of every object that `tip` needs, and `without` does not."""
        listing = ["rev-list", "--objects", "--no-object-names", tip, *([f"^{without}"] if without else [])]
        with self._each(tip, listing, ["cat-file", "--batch-check", "--buffer"]) as stream:
            yield from map(self._header, _whole_lines(stream))

    def stored(self) -> Iterator[tuple[str, str, int]]:
        """(oid, kind, bytes) of every object that is here, needed or not."""
        said = self.run("cat-file", "--batch-all-objects", "--unordered", "--batch-check")
        yield from map(self._header, said.splitlines())

    def _header(self, line: bytes) -> tuple[str, str, int]:
        oid, kind, *size = line.decode("ascii").split()
        if not size:
            raise Corrupt(f"the object {oid} is missing from {self.path}", "run `git fsck`")
        return oid, kind, int(size[0])

    @contextmanager
    def _each(self, tip: str, listing: Sequence[str], reading: Sequence[str]) -> Iterator[IO[bytes]]:
        """What the second git says of the objects that the first lists. Corrupt if either fails, read to its end."""
        lister = self._open(*listing)
        reader = self._open(*reading, stdin=lister.stdout)
        if lister.stdout is None or reader.stdout is None:
            raise SharddError("pipes to git are missing")
        lister.stdout.close()  # the other git owns it now, and must see the end of it
        try:
            try:
                yield reader.stdout
            except Corrupt:
                # The other git was asked for what stood last in a pipe, perhaps half a name.
                with contextlib.suppress(subprocess.TimeoutExpired):
                    lister.wait(_ENDING)
                self._none_was_killed(lister, reader)
                raise
            # Both came to their end by themselves: only then do their statuses say anything.
            if any([lister.wait(), reader.wait()]):
                said = lister.stderr.read().decode(errors="replace") if lister.stderr else ""
                self._none_was_killed(lister, reader)
                raise Corrupt(f"the history of {tip[:12]} in {self.path} cannot be read: {said.strip()}")
        finally:
            for child in (lister, reader):
                child.kill()
                for pipe in (child.stdout, child.stderr):
                    if pipe is not None:
                        pipe.close()
                child.wait()

    def _none_was_killed(self, *children: subprocess.Popen[bytes]) -> None:
        """Unavailable if one was: then nothing that it said, or did not say, tells of the repository."""
        ended = {-child.returncode for child in children if child.returncode is not None and child.returncode < 0}
        ended -= {signal.SIGPIPE}  # which the other's end brings
        if ended:
            raise Unavailable(
                f"a git that read {self.path} was ended by {signal.Signals(ended.pop()).name}", "try again"
            )

    def _open(self, *arguments: str, stdin: IO[bytes] | None = None) -> subprocess.Popen[bytes]:
        child = subprocess.Popen(
            [executable(), *arguments],
            bufsize=_BUFFER,
            stdin=stdin if stdin is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if stdin is None else subprocess.DEVNULL,
            env=self._environment,
        )
        if _own is not None:
            _own().apply(child.pid)
        return child

    def _run(
        self, arguments: Sequence[str], stdin: bytes, pass_fds: Sequence[int]
    ) -> subprocess.CompletedProcess[bytes]:
        child: subprocess.Popen[bytes] | None = None
        try:
            with undisturbed():
                child = subprocess.Popen(
                    [executable(), *arguments],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    env=self._environment,
                    pass_fds=tuple(pass_fds),
                )
            if _own is not None:
                _own().apply(child.pid)
            stdout, stderr = child.communicate(stdin)
        except BaseException:
            if child is not None:
                child.kill()
            raise
        finally:
            if child is not None:
                with child:
                    pass  # its pipes are closed, and it has ended
        return subprocess.CompletedProcess(arguments, child.returncode, stdout, stderr)


def _whole_lines(stream: IO[bytes]) -> Iterator[bytes]:
    """Up to the end, or to a line that has none: who wrote it did not come to it, and its status says why."""
    while (line := stream.readline()).endswith(b"\n"):
        yield line


def _command(arguments: Sequence[str]) -> str:
    """The word after the settings."""
    words = list(arguments)
    while words[0] == "-c":
        del words[:2]
    return words[0]


def _update_line(move: Change) -> str:
    # An empty old value would mean "any"; absence is all zeros (git-update-ref(1)).
    width = len(move.old or move.new or "")
    zero = "0" * width
    for oid in (move.old, move.new):
        _check_oid(oid)
    if move.new is None:
        return f"delete {move.ref}\0{move.old or zero}\0"
    return f"update {move.ref}\0{move.new}\0{move.old or zero}\0"


def _verify_line(ref: str, oid: str | None) -> str:
    _check_oid(oid)
    return f"verify {ref}\0{oid or ''}\0"  # empty: the ref must not exist


def _check_oid(oid: str | None) -> None:
    if oid is not None and not is_oid(oid):
        raise SharddError(f"{oid!r} is not an object id")
