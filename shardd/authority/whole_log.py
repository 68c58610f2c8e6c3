"""Taking over a whole log through an authority: written where nobody sees it, then shown by one ref move.

Whatever stops it before that move leaves the space as it was. Who may import, and whether it is their turn, is decided
twice: before the log is read, so that a refusal does not come after an hour of sending, and under the space's lock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from shardd.authority.authority import Authority
from shardd.authority.facts import Options, Pusher, import_facts
from shardd.authority.ledger import Ledger
from shardd.core.event import Head
from shardd.core.import_chain import Imported, Placed, chain, fitting, twice
from shardd.core.jsonl import Numbered
from shardd.core.names import check_new
from shardd.core.policy import Reject, decide
from shardd.errors import BadEvent, SharddError, Unavailable
from shardd.files.duplicate_ids import SeenIds, Twice

_LONG = 10_000  # events whose sender wants to know why there is no answer yet


def import_events(
    authority: Authority[Ledger],
    space: str,
    events: Iterable[Numbered],
    pusher: Pusher,
    *,
    options: Options | None = None,
    keep_gaps: bool = False,
    create: bool = False,
    dry_run: bool = False,
    gone: Callable[[], bool] = lambda: False,
    tell: Callable[[str], None] = lambda line: None,
) -> Imported:
    """What became of it, durable; or Rejected, BadEvent, Unavailable, and nothing is there.

    options: the epoch the pusher believes in, and whether to take a free lease for this alone
    create: begin the space if nobody has; keep_gaps: see core/import_chain.py
    dry_run: find out all of it, and leave nothing; gone: whether whoever sends the events has left
    tell: is told how far it is, where the log is long, once all of it is here
    """
    terms = authority.terms
    options = options or Options()
    standing = authority.standing(space)
    takes = standing.takes
    _refuse(decide(import_facts(terms, pusher, standing, None, None, options, create=create, checked=takes)))
    if standing.head is None:
        check_new("space", space)
    fit = fitting(events, takes, f"{authority.label}/{space}")
    commits = chain(space, fit, keep_gaps=keep_gaps, limits=terms.limits)
    if dry_run:
        return measure(commits)
    with SeenIds() as seen, authority.ledger.stage(space) as stage:
        first = last = None
        count = -1
        for each in unique(commits, seen):
            stage.add(each)
            first = first or each
            last = each
            count += 1
        if first is None or last is None:
            raise SharddError("an import of nothing is refused where it is read")
        if gone():
            # Its end may be where the line was cut, and not the end of the log.
            raise Unavailable("whoever sent the log has left before its end was acknowledged", "send it again")
        if count >= _LONG:
            tell(f"all {count:,} events are here and sound; writing their index")
        beginning, head = Head(first.seq, first.oid), Head(last.seq, last.oid)
        stage.ready(head, seen.rows())
        if count >= _LONG:
            tell("the index is written; putting the log in its place")
        with authority.hold([space], creating=create) as held:
            made = held.take_over(space, beginning, head, pusher, options, create=create, stage=stage, checked=takes)
            _refuse(made)
    return Imported(count, head)


def unique(commits: Iterable[Placed], seen: SeenIds) -> Iterator[Placed]:
    """The same; BadEvent `duplicate-event` once an id came twice, before any other refusal that comes later."""
    try:
        for each in commits:
            if each.id is not None:
                _once(seen.add(each.id, each.seq, each.oid, each.where))
            yield each
    except BadEvent as error:
        if error.code != "duplicate-event":
            _once(seen.flush())
        raise
    _once(seen.flush())


def measure(commits: Iterable[Placed]) -> Imported:
    """What an import of these would come to."""
    count = -1
    head = Head(0, "")
    with SeenIds() as seen:
        for each in unique(commits, seen):
            head = Head(each.seq, each.oid)
            count += 1
    return Imported(count, head)


def _once(twice_met: Twice | None) -> None:
    if twice_met is not None:
        raise twice(twice_met.id, twice_met.earlier, twice_met.where)


def _refuse(decision: object) -> None:
    if isinstance(decision, Reject):
        raise decision.error()
