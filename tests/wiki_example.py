"""A wiki of realistic size from a seed: 3 shards, 200 pages, 2,000 events. The same seed gives the same, everywhere."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from shardd.core.canonical import Json
from shardd.core.event import Draft

SHARDS = ("desk", "garden", "library")


@dataclass(frozen=True)
class WikiExample:
    """shards: page texts by shard and key; drafts: the events, ready for `append_many`, the shards attached first"""

    shards: dict[str, dict[str, str]]
    drafts: list[Draft]


def wiki_example(seed: int = 7, *, pages: int = 200, events: int = 2000) -> WikiExample:
    chance = random.Random(seed)
    keys = [f"page-{number:03}" for number in range(pages)]
    shards: dict[str, dict[str, str]] = {name: {} for name in SHARDS}
    for number, key in enumerate(keys):
        # Each page is in one shard at least; where it is in several, their texts differ as often as not.
        for name in chance.sample(SHARDS, chance.choice((1, 1, 2, 3))):
            shards[name][key] = f"# Page {number}\n\nÜber {key}" + (f", {name}\n" if chance.random() < 0.5 else "\n")
    story = _story(chance, keys)
    start = datetime(2026, 1, 5, 8, tzinfo=UTC)
    drafts = []
    for number in range(1, events + 1):
        type, subject, data = next(story)
        time = start + timedelta(minutes=7 * number, microseconds=chance.randrange(1_000_000))
        actor = chance.choice(("alice", "bob", "carol"))
        drafts.append(Draft(type=type, subject=subject, data=data, actor=actor, id=f"{seed}-{number}", time=time))
    return WikiExample(shards, drafts)


def _story(chance: random.Random, keys: list[str]) -> Iterator[tuple[str, str | None, dict[str, Json]]]:
    for name in SHARDS:
        yield "shard.attached", name, {"shard": name, "kind": "dict", "title": f"The {name}"}
    number = 0
    while True:
        number += 1
        page, other = chance.sample(keys, 2)
        near = keys[(keys.index(page) + 1) % len(keys)]
        some = str(chance.randrange(1, number + 1))  # an overlay or remark that may exist
        kinds: list[tuple[int, str, str | None, dict[str, Json]]] = [
            (12, "page.bound", page, {"page": page, "same_as": near}),
            (4, "page.bound", page, {"page": page, "shard": chance.choice(SHARDS)}),
            (8, "page.unbound", page, {"page": page, "same_as": near}),
            (1, "page.unbound", page, {"page": page}),
            (18, "overlay.drafted", page, {"overlay": f"o{number}", "page": page, "text": f"Draft {number} ✓"}),
            (12, "overlay.applied", f"o{some}", {"overlay": f"o{some}"}),
            (5, "overlay.withdrawn", f"o{some}", {"overlay": f"o{some}", "reason": "stale"}),
            (3, "overlay.superseded", f"o{some}", {"overlay": f"o{some}", "by": f"o{number // 2}"}),
            (14, "conflict.settled", page, {"page": page, "shard": chance.choice(SHARDS)}),
            (4, "conflict.reopened", page, {"page": page}),
            (12, "remark.added", page, {"remark": f"r{number}", "page": page, "text": f"See {other}."}),
            (3, "remark.retracted", f"r{some}", {"remark": f"r{some}"}),
            (1, "shard.detached", "desk", {"shard": "desk"}),
            (2, "shard.attached", "desk", {"shard": "desk", "kind": "dict"}),
            (1, "acme.reviewed", page, {"stars": chance.randrange(6)}),
            (1, "page.bound", None, {"page": number}),
        ]
        _, type, subject, data = chance.choices(kinds, weights=[kind[0] for kind in kinds])[0]
        yield type, subject, data
