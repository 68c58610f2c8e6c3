"""`space types`: which event types a space takes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias, cast

from shardd.commands.caller import Context
from shardd.commands.grammar import Words
from shardd.commands.result import Answer, Each
from shardd.core.canonical import Json, decode_data
from shardd.core.names import Address
from shardd.core.nearest import did_you_mean
from shardd.core.roles import Role
from shardd.core.taken_types import Takes, known_types
from shardd.errors import Misuse

Listed: TypeAlias = tuple[Address, Takes | None, list[str]]
"""Of which space, what it takes, and warnings: names that may be slips."""


@dataclass(frozen=True, slots=True)
class SpaceTypes:
    """types: what it takes from now on, instead of what it takes now; nothing is changed where nothing is named

    known: those that come with shardd as well; own: a FILE of types with their JSON Schemas; add: to those that it
    takes; strict: see Takes; off: it takes any
    """

    address: Address
    types: list[str]
    known: bool
    own: str | None
    add: bool
    strict: bool
    off: bool

    def run(self, context: Context) -> Answer[Listed]:
        names = bool(self.types or self.known or self.own)
        if self.off and (names or self.add or self.strict):
            raise Misuse("--off lets the space take any type", "leave the rest out")
        if self.add and not names:
            raise Misuse("name the types to add")
        if not (names or self.strict or self.off):
            with context.authority(self.address, Role.READ) as authority:
                return Answer([(self.address, authority.standing(self.address.space).takes, [])], _LISTED)
        context.require(Role.ADMIN, self.address.repo, self.address.space)  # before anything is read
        own = {} if self.own is None else decode_data(context.small_input(self.own))
        with context.authority(self.address, Role.ADMIN) as authority:
            takes = authority.take(self.address.space, lambda now: self._changed(now, own))
        return Answer([(self.address, takes, list(self._slips(own)))], _LISTED)

    def _slips(self, own: Mapping[str, Json]) -> Iterator[str]:
        """A type of one's own may have any name; one that is nearly a type of shardd's may be a slip."""
        known = known_types()
        for name in self.types:
            if name not in known and name not in own and (hint := did_you_mean(name, known)):
                yield f"{name} is no type that comes with shardd{hint}"

    def _changed(self, now: Takes | None, own: Mapping[str, Json]) -> Takes | None:
        if self.off:
            return None
        if self.add and now is None:
            raise Misuse(f"{self.address} takes any type already", "list all that it is to take, without --add")
        types = [*self.types, *(known_types() if self.known else [])]
        kept = now if self.add or not (types or own) else None
        if kept is None:
            return Takes.of(types or ([] if own else known_types()), own, strict=self.strict)
        schemas = {name: cast("Json", json.loads(text)) for name, text in kept.schemas.items()}
        return Takes.of([*kept.types, *types], {**schemas, **own}, strict=kept.strict or self.strict)


def _line(listed: Listed) -> str:
    address, takes, warnings = listed
    if takes is None:
        return f"{address} takes events of any type"
    known = known_types()
    found = [f"{address} takes events of these types, and no other" + (", nor any other field" * takes.strict)]
    for name in takes.types:
        checked = [*(["as shardd has it"] if name in known else []), *(["by its schema"] * (name in takes.schemas))]
        found.append(f"  {name}  ({', '.join(checked) or 'whatever it says'})")
    return "\n".join([*found, *(f"warning: {each}" for each in warnings)])


def _value(listed: Listed) -> Json:
    address, takes, warnings = listed
    if takes is None:
        return {"space": str(address), "types": None, "warnings": list[Json](warnings)}
    schemas: dict[str, Json] = {name: json.loads(text) for name, text in takes.schemas.items()}
    return {
        "space": str(address),
        "types": list(takes.types),
        "schemas": schemas,
        "strict": takes.strict,
        "warnings": list[Json](warnings),
    }


_LISTED: Each[Listed] = Each(_line, _value)


def add(space: Words) -> None:
    types = space.command("types", SpaceTypes, "list, or set, the event types that a space takes")
    types.add_space()
    types.fills = False  # a name that was meant for the space would become all that it takes
    types.add_argument("types", metavar="TYPE", nargs="*", default=[], help="from now on no other; none: show them")
    types.add_argument("--known", action="store_true", help="those that come with shardd")
    types.add_argument("--own", metavar="FILE", help="JSON: an object of types, each with its JSON Schema; - for input")
    types.add_argument("--add", action="store_true", help="to those that it takes already")
    types.add_argument("--strict", action="store_true", help="refuse fields that a type of shardd's does not have")
    types.add_argument("--off", action="store_true", help="take any type")
