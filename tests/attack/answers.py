"""What an answer says was done: yes, no, perhaps, or something that must never be said."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from tests.attack.history import Call, How
from tests.e2e.harness import Result

_NEVER = ("internal error", "Traceback (most recent call last)")
_REPORTED = re.compile(r"^!\t\S+\t\[remote rejected\] \(([a-z-]+): ", re.MULTILINE)
_SAID = re.compile(r"shardd: ([a-z-]+): ")
_LANDED = re.compile(r"^[ *+=-]\t", re.MULTILINE)
_REF = re.compile(r"^[ *+=!-]\t", re.MULTILINE)


def of_command(call: Call, result: Result, tell: Callable[[dict[str, Any]], Mapping[str, object]]) -> How:
    """Keep what a command answered with --json. tell: what to keep of the value"""
    try:
        answers = [json.loads(line) for line in result.stdout.splitlines()]
    except ValueError:
        answers = []
    error = next((each["error"] for each in answers if isinstance(each, dict) and "error" in each), None)
    said = f"{result.stdout[-500:]}{result.stderr[-1500:]}"
    how: How
    if error is not None:
        how = {"unavailable": "unknown", "corrupt": "failed"}.get(error["code"], "refused")  # type: ignore[assignment]
        call.done(how, code=error["code"], said=f"{error['message']}"[:1000])
    elif result.ok and answers:
        how = "ok"
        call.done(how, **tell(answers[-1]))
    elif result.status == 70 or any(words in said for words in _NEVER):
        how = "failed"
        call.done(how, said=said)
    else:
        how = "unknown"  # the connection broke, or the process was killed
        call.done(how, status=result.status, said=said)
    return how


def of_push(call: Call, result: Result) -> How:
    """Keep what `git push --porcelain` of some refs came to. All of them moved, or none: anything else is a fault."""
    reported = _REPORTED.search(result.stdout)
    said = _SAID.search(result.stderr)
    how: How
    landed, refs = len(_LANDED.findall(result.stdout)), len(_REF.findall(result.stdout))
    if result.ok or (landed and landed == refs):
        how = "ok"  # whatever befell the client once it had been told
        call.done(how)
    elif any(words in result.stderr for words in _NEVER):
        how = "failed"
        call.done(how, said=result.stderr[-2000:])
    elif landed:
        how = "failed"
        call.done(how, code="in-part", said=f"{result.stdout[-1000:]}{result.stderr[-1000:]}")
    elif reported or (said and "pre-receive hook declined" in result.stdout):
        how = "refused"
        call.done(how, code=(reported or said or [""])[1], said=f"{result.stdout[-500:]}{result.stderr[-500:]}")
    else:
        how = "unknown"
        call.done(how, status=result.status, said=f"{result.stdout[-500:]}{result.stderr[-1500:]}")
    return how
