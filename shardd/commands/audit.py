"""`audit`: who did what, from where, with which key, and what came of it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec

from shardd.commands.caller import Context
from shardd.commands.grammar import Words
from shardd.commands.result import Answer, Each
from shardd.core.canonical import Json
from shardd.core.hook_protocol import printable
from shardd.core.names import check_principal, check_repo, check_space
from shardd.core.outcome import Kind, Outcome
from shardd.core.tenancy import stamp
from shardd.errors import Misuse
from shardd.files.audit_log import Audit, Unreadable
from shardd.logs.as_of import parse_point

_AGO = re.compile(r"([0-9]{1,6})([smhd])\Z")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_REFUSED = "refused"
_UNIX = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ShowAudit:
    """Each filter, where it is set, must hold. verdict: `ok`, `refused` for all else, or one code

    since: milliseconds since 1970
    """

    who: str | None
    repo: str | None
    space: str | None
    kind: Kind | None
    verdict: str | None
    since: int

    def run(self, context: Context) -> Answer[Outcome | Unreadable]:
        context.require_admin()
        return Answer(self._found(context), _AUDIT, long=True)

    def _found(self, context: Context) -> Iterator[Outcome | Unreadable]:
        read = Audit(context.server.root).read()
        return (each for each in read if isinstance(each, Unreadable) or self._matches(each))

    def _matches(self, outcome: Outcome) -> bool:
        return (
            self.who in (None, outcome.who)
            and self.repo in (None, outcome.repo)
            and self.space in (None, outcome.space)
            and self.kind in (None, outcome.kind)
            and (self.verdict in (None, outcome.verdict) or (self.verdict == _REFUSED and not outcome.accepted))
            and outcome.at >= self.since
        )


def _line(each: Outcome | Unreadable) -> str:
    if isinstance(each, Unreadable):
        return f"(line {each.line} of {each.file.name} does not read)"
    place = f"{each.repo}/{each.space}" if each.space else each.repo or "-"
    spent = f"{each.took} ms" + (f", {each.waited} ms of them waiting" if each.waited else "")
    said = (
        f"{stamp(each.at)}  {each.who or '-':<12}  {each.kind:<7}  {place:<20}  {each.verdict:<15}  {each.what or '-'}"
        f"  ({each.origin}{f' {each.key}' if each.key else ''}; {spent}){f'  {each.why}' if each.why else ''}"
    )
    return printable(said)


def _value(each: Outcome | Unreadable) -> Json:
    if isinstance(each, Unreadable):
        return {"unreadable": {"file": each.file.name, "line": each.line}}
    return {**msgspec.structs.asdict(each), "at": stamp(each.at), "kind": str(each.kind)}


_AUDIT = Each(_line, _value)


def parse_since(text: str) -> int:
    """Milliseconds since 1970 of a TIME with its zone, or of so long ago: `90s`, `15m`, `2h`, `3d`; else Misuse."""
    ago = _AGO.match(text)
    if ago is not None:
        return time.time_ns() // 1_000_000 - int(ago[1]) * _SECONDS[ago[2]] * 1000
    point: object = None
    if not text.isalnum():  # a number would be a seq
        point = parse_point(text)
    if not isinstance(point, datetime):
        raise Misuse(
            f"{text!r} is no time", "give one with its zone like 2026-06-15T10:00:00Z, or how long ago, like 2h"
        )
    return (point - _UNIX) // timedelta(milliseconds=1)


def _kind(text: str) -> Kind:
    try:
        return Kind(text)
    except ValueError:
        raise Misuse(f"{text!r} is no kind", f"one of {', '.join(Kind)}") from None


def add(words: Words) -> None:
    made = words.command("audit", ShowAudit, "show who did what, from where, and what came of it; the newest last")
    made.add_argument("--who", metavar="NAME", type=check_principal)
    made.add_argument("--repo", metavar="REPO", type=check_repo)
    made.add_argument("--space", metavar="SPACE", type=check_space)
    made.add_argument("--kind", metavar="KIND", type=_kind, help=", ".join(Kind))
    made.add_argument("--verdict", metavar="CODE", help="ok, the code of a refusal, or `refused` for any")
    made.add_argument(
        "--since", metavar="TIME", type=parse_since, default=0, help="a time with its zone, or 2h ago: 2h"
    )
