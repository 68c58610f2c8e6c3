"""Which event types a space takes, and what their data have to be. Off by default: then it takes any.

What was appended stays for good, so it is checked before: a type that comes with shardd by its own struct
(core/kinds), a type of the team's own by the JSON Schema that was given with it, if one was. A schema sees no other
file and no network, its patterns are matched in linear time, and it is of bounded length with all that it refers to,
which is never itself: it is judged under the space's lock.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, cast

import msgspec

from shardd.core.canonical import Json, decode_data, encode_data
from shardd.core.event import Data, check_type
from shardd.core.nearest import nearest
from shardd.errors import BadEvent, Misuse

if TYPE_CHECKING:
    from jsonschema_rs import Validator

NOT_ALLOWED = "type-not-allowed"
UNKNOWN = "type-unknown"
"""Of a type that nobody has listed, where a person is asked first."""

_LARGEST = 64 * 1024
"""Bytes of all schemas of a space: they lie beside its lease, and are written with it."""

_MOST_PARTS = 2000
"""JSON values in a schema, each counted as often as it is referred to: all of them may be asked of each value."""

_MOST_STEPS = 8
"""From one reference to the next: each may lie as deep in the schema as data may."""


class Takes(msgspec.Struct, frozen=True):
    """What a space takes.

    types: by name, sorted; schemas: the JSON Schema of those of them that have one, as JSON
    strict: a field that a type of shardd's does not have is refused; else it is kept, since a newer version may know it
    """

    types: tuple[str, ...]
    schemas: dict[str, str] = {}
    strict: bool = False

    @staticmethod
    def of(types: Iterable[str], schemas: Mapping[str, Json], *, strict: bool) -> Takes:
        """Misuse where a name is none, or a schema cannot be used."""
        texts: dict[str, str] = {}
        for name, schema in schemas.items():
            if not isinstance(schema, dict):
                raise Misuse(f"{name}: its JSON Schema is not an object", 'write it like {"required": ["page"]}')
            texts[name] = encode_data(schema).decode()
            try:
                _Parts(schema).check()
                _validator(texts[name])
            except Misuse as error:
                raise Misuse(f"{name}: {error.message}", error.remedy) from None
        if sum(map(len, texts.values())) > _LARGEST:
            raise Misuse(f"the schemas have more than {_LARGEST} bytes", "leave out what only describes")
        return Takes(tuple(sorted({check_type(name) for name in (*types, *texts)})), texts, strict)

    def refusal(self, type: str, data: Data, label: str) -> BadEvent | None:
        """Why the space `label` does not take such an event; None if it does."""
        if type not in self.types:
            meant = nearest(type, self.types)
            hint = f"; did you mean {meant}?" if meant else ""
            mend = f"`shardd space types {label}` lists what it takes; an admin adds to it with `--add {type}`"
            return BadEvent("type", f"{label} takes no {type}{hint}", mend, code=NOT_ALLOWED)
        return unfit(type, data, strict=self.strict) or self._breach(type, data, label)

    def _breach(self, type: str, data: Data, label: str) -> BadEvent | None:
        text = self.schemas.get(type)
        if text is None:
            return None
        # The JSON that is kept, and not whatever was handed over in place of it.
        for error in _validator(text).iter_errors(decode_data(encode_data(data).decode())):
            path = ".".join(map(str, ("data", *error.instance_path)))
            # What it holds is not repeated: it may be long, and is in the event.
            return BadEvent(
                path, f"{type}: {error.message}"[:400], f"`shardd space types {label} --json` shows its schema"
            )
        return None


def known_types() -> list[str]:
    """Those that come with shardd."""
    from shardd.core.kinds.default import DEFAULT_KINDS  # most pushes need nothing of it

    return sorted(DEFAULT_KINDS.kinds)


def check_meant(type: str, data: Data, takes: Takes | None, all_the_same: str) -> None:
    """BadEvent where what a person wrote is probably not what was meant: nothing takes it out of a log again.

    takes: what the space takes; where it lists its types, an unknown one is refused elsewhere
    all_the_same: how to append it anyway
    """
    if takes is not None:
        return
    check_type(type)
    error = unfit(type, data)
    if error is not None:
        raise BadEvent(error.field, error.detail, f"{error.remedy}; {all_the_same} appends it all the same")
    known = known_types()
    if type not in known:
        meant = nearest(type, known)
        hint = f"; did you mean {meant}?" if meant else ""
        mend = f"name one of `shardd help events`, or append it all the same with {all_the_same}"
        raise BadEvent("type", f"{type[:60]} is no type that comes with shardd{hint}", mend, code=UNKNOWN)


def unfit(type: str, data: Data, *, strict: bool = False) -> BadEvent | None:
    """Why the data are not those of a type that comes with shardd; None if they are, or it is none of these.

    strict: fields that the type does not have are refused as well
    """
    from shardd.core.kinds.default import DEFAULT_KINDS
    from shardd.core.kinds.kind import Unread

    kind = DEFAULT_KINDS.kinds.get(type)
    if kind is None:
        return None
    fields = [*(field.name for field in msgspec.structs.fields(kind.data)), "v"]
    found = kind.read(data)
    strange = [name for name in data if name not in fields]
    if isinstance(found, Unread):
        field = found.field or "data"
        # Often it is there, under another name.
        meant = nearest(field.removeprefix("data."), strange) if found.missing else None
        hint = f"; is `{meant}` meant for it?" if meant else ""
        return BadEvent(field, f"{type}: {found.why}{hint}", _look(type))
    if strict and strange:
        near = nearest(strange[0], fields)
        hint = f"; did you mean `{near}`?" if near else ""
        return BadEvent(f"data.{strange[0][:60]}", f"{type} has no such field{hint}", _look(type))
    return None


def _look(type: str) -> str:
    return f"`shardd help events` lists the fields of {type}" if type in known_types() else ""


@lru_cache(maxsize=256)
def _validator(schema: str) -> Validator:
    import jsonschema_rs  # of no concern to a space without schemas

    def refuse(uri: str) -> Json:
        raise ValueError("a schema stands alone")

    try:
        return jsonschema_rs.validator_for(
            cast("dict[str, Json]", json.loads(schema)),
            pattern_options=jsonschema_rs.RegexOptions(),
            retriever=refuse,
            mask="this",
        )
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
        why = str(getattr(error, "message", error)).split("\n")[0][:200]
        raise Misuse(f"a JSON Schema cannot be used: {why}", "it must stand alone; see json-schema.org") from None


class _Parts:
    """How long a schema is with what it refers to written out. What cannot be followed from here is refused."""

    def __init__(self, schema: dict[str, Json]) -> None:
        self._schema = schema
        self._id = "id" if re.search(r"draft-0[34]", str(schema.get("$schema"))) else "$id"
        self._counted: dict[str, int] = {}
        self._within: list[str] = []

    def check(self) -> None:
        """Misuse if it is too long, or endless."""
        if self._count(self._schema) > _MOST_PARTS:
            raise _useless(f"with all that it refers to it has more than {_MOST_PARTS} parts", "make it shorter")

    def _count(self, value: Json) -> int:
        if isinstance(value, list):
            return 1 + sum(map(self._count, value))
        if not isinstance(value, dict):
            return 1
        for name in ("$dynamicRef", "$recursiveRef", self._id):
            if isinstance(value.get(name), str) and not (name == self._id and value is self._schema):
                raise _useless(f"{name} is not taken", _OWN_PARTS)
        ref = value.get("$ref")
        referred = self._of(ref) if isinstance(ref, str) else 0
        return 1 + referred + sum(map(self._count, value.values()))

    def _of(self, ref: str) -> int:
        if ref in self._counted:
            return self._counted[ref]
        if ref in self._within:
            raise _useless(f"{ref[:60]} refers to itself", "spell out as many levels as there are")
        if len(self._within) == _MOST_STEPS:
            raise _useless(f"it refers on and on, more than {_MOST_STEPS} times", "refer to the last of them")
        self._within.append(ref)
        found = self._counted[ref] = self._count(self._at(ref))
        self._within.pop()
        return found

    def _at(self, ref: str) -> Json:
        path = ref.removeprefix("#")
        if not ref.startswith("#") or (path and not path.startswith("/")) or "%" in path:
            raise _useless(f"{ref[:60]} is not taken", _OWN_PARTS)
        value: Json = self._schema
        try:
            for step in path.split("/")[1:]:
                key = step.replace("~1", "/").replace("~0", "~")
                value = value[int(key)] if isinstance(value, list) else cast("dict[str, Json]", value)[key]
        except (LookupError, TypeError, ValueError):
            raise _useless(f"{ref[:60]} leads nowhere", _OWN_PARTS) from None
        return value


_OWN_PARTS = "refer to its own parts alone, as in `#/$defs/NAME`"


def _useless(why: str, remedy: str) -> Misuse:
    return Misuse(f"a JSON Schema cannot be used: {why}", remedy)
