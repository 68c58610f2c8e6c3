"""`append --lines` over ssh: each line for itself, all or none, and from a client that gives up in the midst of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

import paramiko

from shardd.core.event import Draft, format_time
from tests.attack import answers
from tests.attack.actors import leasing
from tests.attack.actors.life import BATCH, Life


def by_lines(life: Life) -> None:
    for _ in range(life.operations):
        space = life.space()
        if life.chance.random() < 0.5:
            leasing.by_way(life, space, "ssh")
        _, act = life.chance.choice([("each", _each), ("all", _all), ("quit", _quit)])
        act(life, space)


def _each(life: Life, space: str) -> None:
    """Every line is a call of its own, and has an answer of its own."""
    drafts = life.drafts(life.chance.randint(1, 8))
    calls = [life.history.call("append", life.who, "lines", events={space: [(d.id, None, None)]}) for d in drafts]
    result = life.ssh(f"append {space} --lines --take-lease --json", input=_lines(drafts))
    said = {value.get("id"): value for value in map(json.loads, result.stdout.splitlines()) if isinstance(value, dict)}
    for draft, call in zip(drafts, calls, strict=True):
        answer = said.get(draft.id)
        if answer is None:
            call.done("unknown", said=result.stderr[-500:])
        elif "error" in answer:
            error = answer["error"]
            how = {"unavailable": "unknown", "corrupt": "failed"}.get(error["code"], "refused")
            call.done(how, code=error["code"], said=error["message"])  # type: ignore[arg-type]
        else:
            call.done("ok", events={space: [(answer["id"], answer["seq"], answer["oid"])]})


def _all(life: Life, space: str) -> None:
    drafts = life.drafts(life.chance.choice([2, 5, BATCH]))
    call = life.history.call("append", life.who, "lines", events={space: [(d.id, None, None) for d in drafts]})
    result = life.ssh(f"append {space} --lines --atomic --take-lease --json", input=_lines(drafts))
    placed = [json.loads(line) for line in result.stdout.splitlines()] if result.ok else []
    events = {space: [(value["id"], value["seq"], value["oid"]) for value in placed]}
    answers.of_command(call, result, lambda _: {"events": events})


def _quit(life: Life, space: str) -> None:
    """A batch that is all or none; then the end of input, and the client is gone.

    That nothing lands where both come at once is tested in tests/e2e/test_floods.py. Here the client may have said that
    it is still there between the two, and then the batch was whole.
    """
    drafts = life.drafts(life.chance.randint(2, 6))
    life.history.call("append", life.who, "quitter", events={space: [(d.id, None, None) for d in drafts]})
    client = paramiko.SSHClient()
    try:
        client.load_host_keys(str(life.actor.home / "known_hosts"))
        client.connect(
            "127.0.0.1",
            life.stage.server.port,
            username=life.who,
            key_filename=str(life.actor.key),
            allow_agent=False,
            look_for_keys=False,
            timeout=30,
            banner_timeout=30,
            auth_timeout=30,
        )
        transport = client.get_transport()
        assert transport is not None
        channel = transport.open_session(timeout=30)
        channel.exec_command(f"append {space} --lines --atomic --take-lease --json")
        channel.sendall(_lines(drafts))
        channel.shutdown_write()
        channel.close()
    except (OSError, EOFError, paramiko.SSHException):
        pass  # gone even sooner
    finally:
        client.close()


def _lines(drafts: Iterable[Draft] | Sequence[Draft]) -> bytes:
    said = (
        {"type": d.type, "subject": d.subject, "data": dict(d.data), "id": d.id, "time": format_time(d.time)}
        for d in drafts
    )
    return b"".join(json.dumps(each).encode() + b"\n" for each in said)
