"""Event data as JSON: strict reading, and one canonical spelling (RFC 8785).

The rules, beyond JSON itself: the top is an object; no key twice; no NaN or Infinity; every number that is written
without fraction or exponent is within ±(2^53 − 1); strings are whole Unicode (no lone surrogates); at most 64 levels.

msgspec writes the very bytes of RFC 8785 where there are no floats and no key beyond the Basic Multilingual Plane,
fifty times faster than the reference library; everything else goes to that library. A property test holds the two
against each other. Reading has the same two ways: what msgspec decodes and writes back as it was is canonical, so it
breaks none of the rules; everything else is read with care.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import TypeAlias, cast

import msgspec
import rfc8785

from shardd.errors import BadEvent

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

MAX_DEPTH = 64
MAX_INT = 2**53 - 1
_EXPONENT_FROM = 1e21  # ECMAScript writes integral numbers below this without an exponent

_fast = msgspec.json.Encoder(order="sorted")
# A float decodes as null, so a body with one is not written back as it was.
_plain = msgspec.json.Decoder(dict, float_hook=lambda _: None)
# What msgspec would write back although it needs care: integers too large (but digits that a quote opens are text), and
# keys that RFC 8785 sorts by UTF-16. The first pattern is the quick one.
_DIGITS = re.compile("[0-9]{16}")
_LONG = re.compile('(?<!")[0-9]{16}')
_ASTRAL = re.compile("[\U00010000-\U0010ffff]")


def encode_data(data: Mapping[str, Json], *, level: int = 1) -> bytes:
    """Canonical UTF-8 bytes of an object, or BadEvent naming where it cannot be held.

    level: at which it stands; 0 for one that only wraps an event's data
    """
    plain = data if type(data) is dict else dict(data)
    if _check(plain, "data", level):
        return rfc8785.dumps(plain)
    return _fast.encode(plain)


def decode_data(text: str) -> dict[str, Json]:
    """The object that a body holds, in any layout, as its canonical form decodes; or BadEvent."""
    found = decode_plain(text)
    if found is not None:
        return found
    data = parse_object(text, "data")
    if _check(data, "data", 1):
        # Only floats can change under canonicalisation (1.0 is written 1).
        return cast("dict[str, Json]", json.loads(rfc8785.dumps(data)))
    return data


def decode_plain(text: str) -> dict[str, Json] | None:
    """The object, if the text is plainly canonical; None where it takes the careful way to tell."""
    if (
        (_DIGITS.search(text) and _LONG.search(text))
        or (not text.isascii() and _ASTRAL.search(text))
        or text.count("{") + text.count("[") > MAX_DEPTH
    ):
        return None
    try:
        raw = text.encode()
        data: dict[str, Json] = _plain.decode(raw)
    except (ValueError, RecursionError):  # msgspec's errors, and half a surrogate pair
        return None
    return data if _fast.encode(data) == raw else None


def parse_object(text: str, field: str, *, number: Callable[[str], float] = float) -> dict[str, Json]:
    """The object that a text holds, no key twice; or BadEvent about `field`. number: reads what is not an integer"""

    def unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
        found = dict(pairs)
        if len(found) != len(pairs):
            seen: set[str] = set()
            for key, _ in pairs:
                if key in seen:
                    raise BadEvent(field, f"the key {key!r} stands twice in one object")
                seen.add(key)
        return found

    def no_constant(name: str) -> None:
        raise BadEvent(field, f"{name} is not JSON")

    try:
        value = json.loads(text, object_pairs_hook=unique, parse_constant=no_constant, parse_float=number)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}" if error.lineno > 1 else f"column {error.colno}"
        raise BadEvent(field, f"is not JSON: {error.msg} at {where}") from None
    except RecursionError:
        raise BadEvent(field, f"nested deeper than {MAX_DEPTH}") from None
    except ValueError as error:  # an integer with thousands of digits
        raise BadEvent(field, str(error)) from None
    if not isinstance(value, dict):
        raise BadEvent(field, "is JSON but not an object; write it as {...}")
    return value


def _check(value: object, where: str, depth: int) -> bool:
    """Whether the careful encoder is needed (a float, or a key beyond the BMP); BadEvent if it cannot be held."""
    kind = type(value)
    if kind is str:
        _check_text(cast("str", value), where)
        return False
    if value is None or kind is bool:
        return False
    if kind is int:
        if not -MAX_INT <= cast("int", value) <= MAX_INT:
            raise BadEvent("data", f"{where}: an integer is outside ±(2^53 - 1); write it as a string")
        return False
    if kind is float:
        number = cast("float", value)
        if number != number or number in (float("inf"), float("-inf")):
            raise BadEvent("data", f"{where}: {number} is not JSON")
        if number.is_integer() and MAX_INT < abs(number) < _EXPONENT_FROM:
            raise BadEvent("data", f"{where}: {number} would be written as an integer outside ±(2^53 - 1)")
        return True
    if depth > MAX_DEPTH:
        raise BadEvent("data", f"nested deeper than {MAX_DEPTH}")
    careful = False
    if kind is dict:
        for key, item in cast("dict[object, object]", value).items():
            if type(key) is not str:
                raise BadEvent("data", f"{where}: the key {key!r} is not a string")
            _check_text(key, where)
            if not key.isascii() and max(key) > "\uffff":
                careful = True
            careful |= _check(item, f"{where}.{key}" if depth < 4 else where, depth + 1)
        return careful
    if kind is list or kind is tuple:
        for item in cast("list[object]", value):
            careful |= _check(item, f"{where}[]" if depth < 4 else where, depth + 1)
        return careful
    raise BadEvent("data", f"{where}: {kind.__name__} has no JSON form")


def _check_text(text: str, where: str) -> None:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise BadEvent("data", f"{where}: a string holds half of a surrogate pair") from None
