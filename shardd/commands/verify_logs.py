"""`verify`: whether logs are whole; the first broken commit, and the rule it breaks, where one is not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from shardd.commands.caller import Context
from shardd.commands.grammar import Words
from shardd.commands.result import Answer, Each
from shardd.core.canonical import Json
from shardd.core.hook_protocol import printable
from shardd.core.names import Address
from shardd.core.plural import many
from shardd.errors import Corrupt, Rejected, Unavailable
from shardd.git.repository import Repository
from shardd.upkeep.verify import Keys, Report, spaces_in, verify


@dataclass(frozen=True, slots=True)
class Verify:
    """address: None for every space that the caller may read"""

    address: Address | None

    def run(self, context: Context) -> Answer[Proved]:
        return shown(self._reports(context))

    def _reports(self, context: Context) -> Iterator[tuple[str, Report]]:
        files = context.server.access
        keys = Keys([f"{name} {key}" for name, owned in files.keys().items() for key in owned], ours=True)
        for repo in [self.address.repo] if self.address else context.readable():
            with context.authority(repo) as authority:
                repository = authority.ledger.repository
                for refs in spaces_in(repository.git, bare=True):
                    if self.address is None or refs.space == self.address.space:
                        yield f"{repo}/{refs.space}", verify(repository, refs, keys)


def reports(repository: Repository, *, bare: bool, space: str | None, keys: Keys) -> Iterator[tuple[str, Report]]:
    """Of one repository, which may be anywhere."""
    with repository:
        for refs in spaces_in(repository.git, bare=bare):
            if space is None or refs.space == space:
                yield refs.space, verify(repository, refs, keys)


Proved: TypeAlias = tuple[str, Report]
"""A space, as it is called, and what was found of it."""


def shown(found: Iterable[Proved]) -> Answer[Proved]:
    """A line for each space; Corrupt at the end if one is broken, Rejected if there was none."""
    return Answer(_judged(found), _PROVED, live=True)


def _judged(found: Iterable[tuple[str, Report]]) -> Iterator[tuple[str, Report]]:
    count = broken = behind = shallow = 0
    for name, report in found:
        yield name, report
        count += 1
        broken += report.broken is not None and not (report.behind or report.shallow)
        behind += report.behind
        shallow += report.shallow
    if not count:
        raise Rejected("no-such-space", "there is no such space here", "see `shardd space list`, or `git branch -r`")
    if broken:
        raise Corrupt(
            f"{broken} of {count} spaces broken" if count > 1 else "the space is broken",
            "compare with a backup or with other clones, which tell what was there",
        )
    if shallow:
        raise Unavailable("a log does not reach back to its first commit here", "run `git fetch --unshallow`")
    if behind:
        raise Unavailable(
            "a log and the journal of its leases are not of one moment",
            "run `git fetch`, and verify again; if it stays so, something was lost",
        )


def _line(name: str, report: Report) -> str:
    head = report.head
    facts = ["nothing" if head is None else f"{many(report.events, 'event')} up to seq {head.seq} {head.oid[:12]}"]
    if report.gaps:
        facts.append(f"{many(report.gaps, 'gap')} of its import")
    facts.append("no lease journal here" if report.epochs is None else many(report.epochs, "epoch"))
    facts += [f"{many(count, 'signature')}: {said}" for said, count in sorted(report.signed.items())]
    if report.broken is None:
        return printable(f"{name}: whole: {', '.join(facts)}")
    found = "BEHIND" if report.behind else "SHALLOW" if report.shallow else "BROKEN"
    return printable(f"{name}: {found}: {report.broken.message} (before it: {', '.join(facts)})")


def _value(name: str, report: Report) -> Json:
    head, broken = report.head, report.broken
    what: Json = None
    if broken is not None:
        what = {"rule": broken.rule, "seq": broken.seq, "oid": broken.oid, "message": broken.detail}
    return {
        "space": name,
        "whole": broken is None,
        "events": report.events,
        "head": {"seq": head.seq, "oid": head.oid} if head else None,
        "gaps": report.gaps,
        "epochs": report.epochs,
        "signed": dict(sorted(report.signed.items())),
        "broken": what,
    }


_PROVED: Each[Proved] = Each(lambda proved: _line(*proved), lambda proved: _value(*proved))


def add(words: Words) -> None:
    parser = words.command("verify", Verify, "prove logs whole, from their first commit on")
    parser.add_space(every=True)
