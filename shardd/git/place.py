"""Where the repository of a path is, and where it has what it fetched: git itself is asked, and nothing guessed.

A path may be a bare repo, the top of a work tree with a `.git` folder, or one whose `.git` is a file that points
elsewhere: a linked work tree, a submodule, a repository with a separate git directory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from shardd.core.refs import LOG
from shardd.errors import Misuse
from shardd.git.program import Git

CHOSEN = "shardd.remote"
"""The setting by which `shardd setup` says which remote is shardd's."""


@dataclass(frozen=True, slots=True)
class Place:
    """folder: the git directory that all its work trees share"""

    folder: Path
    bare: bool


def place_of(path: Path) -> Place | None:
    """The repository whose top, or whose git directory, `path` is; None if it is neither.

    Unavailable if git finds one there that it cannot use.
    """
    if not path.is_dir():
        return None
    inner = path / ".git"
    git = Git(inner if inner.exists() else path)
    said = git.seen("rev-parse", "--path-format=absolute", "--is-bare-repository", "--git-common-dir")
    if said is None:
        return None
    bare, _, folder = said.decode("utf-8", "surrogateescape").removesuffix("\n").partition("\n")
    return Place(Path(folder), bare == "true")


@dataclass(frozen=True, slots=True)
class Fetching:
    """How a remote is fetched. refspecs: in order; pushes: it is a mirror that we push to"""

    remote: str
    refspecs: Sequence[str]
    pushes: bool

    def places(self, prefix: str) -> list[str]:
        """Prefixes under which refs are kept that are called `prefix…` there."""
        found = []
        for refspec in self.refspecs:
            source, _, target = refspec.removeprefix("+").partition(":")
            if source.startswith("^") or not target:
                continue
            if source.startswith(prefix) and target.endswith(source.removeprefix(prefix)):
                found.append(target.removesuffix(source.removeprefix(prefix)))  # all of them, or one alone
            elif source.endswith("*") and target.endswith("*") and prefix.startswith(source[:-1]):
                found.append(target[:-1] + prefix.removeprefix(source[:-1]))
        return list(dict.fromkeys(found))

    def overwrites(self, prefix: str) -> bool:
        """Whether a fetch moves refs called `prefix…` here."""
        targets = (each.partition(":")[2].partition("*")[0] for each in self.refspecs if ":" in each)
        return any(target.startswith(prefix) or prefix.startswith(target) for target in targets)


@dataclass(frozen=True, slots=True)
class Remotes:
    """Those of a repository. chosen: the one that was named as shardd's; settled: git's own choice, if it has one

    tracked: the remote of each branch that tracks one, `.` for none, and what the branch is called there
    """

    all: Mapping[str, Fetching]
    tracked: Mapping[str, tuple[str | None, str | None]]
    chosen: str | None
    settled: str | None

    @classmethod
    def of(cls, listed: bytes) -> Remotes:
        """listed: by `git config --null --list`"""
        found: dict[str, dict[str, dict[str, list[str]]]] = {"remote": {}, "branch": {}, "": {}}
        for each in listed.split(b"\0")[:-1]:
            name, _, value = each.decode("utf-8", "surrogateescape").partition("\n")
            section, _, rest = name.partition(".")
            middle, _, key = rest.rpartition(".")
            known = section if middle and section in found else ""
            found[known].setdefault(middle if known else name, {}).setdefault(key, []).append(value)
        remotes = {
            name: Fetching(name, said.get("fetch", []), pushes=_last(said, "mirror") == "true")
            for name, said in found["remote"].items()
            if "url" in said
        }
        tracked = {name: (_last(said, "remote"), _last(said, "merge")) for name, said in found["branch"].items()}
        return cls(
            remotes,
            tracked,
            _last(found[""].get(CHOSEN, {}), "remote"),
            _last(found[""].get("checkout.defaultremote", {}), "defaultremote"),
        )

    def main(self) -> Fetching | None:
        """The one that the logs are fetched from, where nothing else says so; Misuse where several could be it."""
        for name in (self.chosen, self.settled, "origin"):
            if name is not None and name in self.all:
                return self.all[name]
        if len(self.all) > 1:
            names = ", ".join(sorted(self.all))
            raise Misuse(f"which remote of {names}?", "say it once with `shardd setup --remote NAME`")
        return next(iter(self.all.values()), None)

    def copied(self, *, holds_spaces: bool) -> str | None:
        """The remote whose logs a bare repo mirrors, which the next fetch would put in place of its own.

        holds_spaces: it has spaces that it has never been the authority of
        """
        for name, each in self.all.items():
            # `git clone --bare` leaves a remote that is not fetched by itself.
            if each.overwrites(LOG.prefix) or (holds_spaces and not each.refspecs and not each.pushes):
                return name
        return None


def remotes_of(git: Git) -> Remotes:
    """As the repository itself has them, whoever asks."""
    return Remotes.of(git.run("config", "--null", "--list"))


def fetched_spaces(git: Git, remote: str | None = None) -> list[str]:
    """The prefixes under which a clone has the spaces of a remote, the main one by default; none without a remote."""
    remotes = remotes_of(git)
    if remote is not None and remote not in remotes.all:
        raise Misuse(f"there is no remote {remote!r}", "`git remote` lists them")
    source = remotes.main() if remote is None else remotes.all[remote]
    return [] if source is None else source.places(LOG.prefix)


def _last(said: Mapping[str, Sequence[str]], key: str) -> str | None:
    return said[key][-1] if key in said else None
