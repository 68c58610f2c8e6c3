"""The attack: eight processes push and change leases at random, by every way in, and are killed at every point.

One round: eight workers live for a moment, either each for itself, or as a duel: one of them hands the lease to and fro
between two others, who do nothing but push, so that leases end in the midst of pushes. Some of them, some of their
hooks, and now and then the server carry a SHARDD_KILL_AT; others, and the server with its children, are shot from
outside at a random moment. Then everything that was read and everything that somebody was told is checked (checks.py),
and the spaces must take the next lease change and the next push without a person having mended anything. What happens
follows from the seed, but for timing.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from shardd.core.lease import Acquire, GiveUp, Grant, Release, Renew, Revoke, Transfer, Transition
from shardd.errors import SharddError
from shardd.storage.appending import append_drafts
from shardd.storage.facts import Pusher
from shardd.storage.repository import Repository
from shardd.storage.seams import VARIABLE, Point, reached
from tests.attack.children import Child
from tests.attack.stage import PEOPLE, REPO, SPACES, Stage, a_draft

Say = Callable[[object], None]
WAYS = ("ssh", "path", "log")
DEAR = "openssh"  # each push starts Python four times
OPERATIONS = 3
FINE = ("not-holder", "stale-epoch", "non-fast-forward", "duplicate-event")


@dataclass(slots=True)
class Campaign:
    """seed: what is printed, and what repeats the campaign's choices."""

    stage: Stage
    seed: int
    counts: Counter[str] = field(default_factory=Counter)
    _points: dict[str, itertools.cycle[Point]] = field(default_factory=dict)

    def run(self, *, rounds: int, seconds: float | None = None) -> int:
        """Fight so many rounds, or as many as fit; how many."""
        end = None if seconds is None else time.monotonic() + seconds
        done = 0
        print(f"seed {self.seed}", flush=True)
        for number in range(rounds):
            if end is not None and time.monotonic() > end:
                break
            try:
                self.round(number)
            except BaseException:
                print(f"seed {self.seed}, round {number}", file=sys.stderr, flush=True)
                raise
            done += 1
            self.counts["round"] += 1
        self.stage.check(SPACES, fsck=True)
        return done

    def round(self, number: int) -> None:
        chance = random.Random(f"{self.seed}/{number}")
        spaces = SPACES[:1] if chance.random() < 0.5 else SPACES
        server_at = ""
        if not self.stage.server.alive or chance.random() < 0.4:
            server_at = f"{self._point('server', chance)}:{chance.randint(1, 2)}" if chance.random() < 0.8 else ""
            self.stage.open(server={VARIABLE: server_at} if server_at else {})
        openssh_at = ""
        dear = self.stage.openssh is not None and chance.random() < 0.5
        if dear:
            openssh_at = self._point(DEAR, chance) if chance.random() < 0.6 else ""
            self.stage.open(openssh={VARIABLE: openssh_at} if openssh_at else {})
        children: list[tuple[str, Child]] = []
        armed: dict[str, str] = {}
        duel = chance.sample(PEOPLE[1:], 2) if chance.random() < 0.5 else []
        for who in PEOPLE:
            way = "ssh" if who in duel else "log" if duel and who == PEOPLE[0] else chance.choice(WAYS)
            if dear and who == PEOPLE[-1] and who not in duel:
                way = DEAR
            kill_at = ""
            if way == DEAR:
                kill_at = openssh_at
            elif chance.random() < 0.6:
                # A hook comes to each point once, a worker of ours to most of them once for each thing it does.
                kill_at = f"{self._point(way, chance)}:{1 if way == 'path' else chance.randint(1, 2)}"
            worker = Worker(self.stage, who, way, spaces, f"{self.seed}/{number}/{who}", kill_at)
            life = worker.live
            if duel and who == PEOPLE[0]:
                life = partial(worker.hand_over, duel)
            elif who in duel:
                life = worker.push_on
            children.append((who, Child(life, kill_at=kill_at if way in ("ssh", "log") else "")))
            armed[who] = f"{way} at {kill_at.partition(':')[0]}"
        if chance.random() < 0.4:
            time.sleep(chance.random() * 0.5)
            for who, child in chance.sample(children, 2):
                child.kill(group=True)
                armed[who] = "shot"
        if chance.random() < 0.2:
            time.sleep(chance.random() * 0.3)
            if self.stage.server.alive:
                # With its git children, so that locks of git's are left behind.
                os.killpg(self.stage.server.pid, signal.SIGKILL)
                server_at = ""
        for who, child in children:
            ending = child.ends(group=True)
            if ending.killed:
                self.counts[f"killed: {armed[who]}"] += 1
            for told in ending.said:
                self._note(who, told)
        self.stage.check(spaces, fsck=number % 10 == 9)
        if not self.stage.server.alive:
            where = f" at {server_at.partition(':')[0]}" if server_at else ", shot"
            self.counts[f"killed: server{where}"] += 1
            self.stage.open(server={})
            self.stage.push_goes_through(chance.choice(spaces))

    def _note(self, who: str, told: object) -> None:
        assert isinstance(told, tuple)
        kind, space, *rest = told
        self.counts[kind] += 1
        if kind == "event":
            self.stage.records[space].event(rest[0], who)
        elif kind == "epoch":
            self.stage.records[space].epoch(*rest)
        elif kind == "failed":
            raise AssertionError(f"{who} on {space}: {rest}")

    def _point(self, way: str, chance: random.Random) -> Point:
        """Every point in turn, in an order of each way's own."""
        if way not in self._points:
            points = list(Point)
            chance.shuffle(points)
            self._points[way] = itertools.cycle(points)
        return next(self._points[way])


@dataclass(slots=True)
class Worker:
    """One principal's life in one round. way: how it pushes, and where it asks for leases."""

    stage: Stage
    who: str
    way: str
    spaces: tuple[str, ...]
    seed: str
    kill_at: str
    _epochs: dict[str, int] = field(default_factory=dict)

    def live(self, say: Say) -> None:
        chance = random.Random(self.seed)
        for _ in range(OPERATIONS):
            space = chance.choice(self.spaces)
            try:
                if chance.random() < 0.5:
                    self._change(space, chance, say)
                for _ in range(chance.randint(1, 3)):
                    if not self._append(space, chance, say):
                        break
            except SharddError as error:
                if error.code not in FINE:
                    say(("failed", space, error.code, str(error)[:500]))
            reached(Point.AFTER_ANSWER)

    def push_on(self, say: Say) -> None:
        """Push, and push again, whoever holds the lease."""
        chance = random.Random(self.seed)
        for _ in range(2 * OPERATIONS):
            self._append(self.spaces[0], chance, say)

    def hand_over(self, rivals: Sequence[str], say: Say) -> None:
        """Give the lease to one, and to the other, at any moment of their pushes."""
        chance = random.Random(self.seed)
        for _ in range(8 * OPERATIONS):
            with Repository(self.stage.path) as repository:
                changed = self.stage.authority(repository).change(
                    self.spaces[0], Grant(chance.choice(rivals), force=True)
                )
            assert changed.lease is not None
            say(("epoch", self.spaces[0], changed.epoch, changed.head, changed.lease.holder))
            time.sleep(chance.random() * 0.1)

    def _append(self, space: str, chance: random.Random, say: Say) -> bool:
        """Whether it was acknowledged, which is then said."""
        epoch = self._epochs.get(space) if chance.random() < 0.5 else None
        if self.way == "log":
            with Repository(self.stage.path) as repository:
                authority = self.stage.authority(repository)
                events = append_drafts(authority, space, [a_draft(self.who)], Pusher(self.who), epoch=epoch)
            for event in events:
                say(("event", space, event.oid))
            say(("pushed by log", space))
            return True
        prepared = self.stage.prepare_push(self.who, space, epoch=epoch)
        if prepared is None:
            return False
        options = [f"epoch={epoch}"] if epoch is not None and chance.random() < 0.5 else []
        if chance.random() < 0.4:
            options.append("lease=acquire")
        if self.way in ("ssh", DEAR):
            server = self.stage.openssh if self.way == DEAR else self.stage.server
            assert server is not None
            done = self.stage.push(self.who, space, prepared[0], f"{server.url}/{REPO}.git", *options)
        else:
            env = {"SHARDD_PRINCIPAL": self.who, **({VARIABLE: self.kill_at} if self.kill_at else {})}
            done = self.stage.push(self.who, space, prepared[0], str(self.stage.path), *options, **env)
        if done.returncode == 0:
            say(("event", space, prepared[0]))
            say((f"pushed by {self.way}", space))
        elif "internal error" in done.stderr or "Traceback" in done.stderr:
            say(("failed", space, done.stderr[-1500:]))
        elif self.way in ("path", DEAR) and self.kill_at and "shardd:" not in done.stderr:
            hook = "hook" if self.way == "path" else "hook under sshd"
            say((f"killed: {hook} at {self.kill_at.partition(':')[0]}", space))
        else:
            say(("refused", space))
        return done.returncode == 0

    def _change(self, space: str, chance: random.Random, say: Say) -> None:
        other = chance.choice(PEOPLE)
        ttl = chance.choice([1_000, 5_000, 60_000])
        fenced = chance.random() < 0.3
        ticket = f"{self.who}-{chance.randint(1, 2)}"
        transitions: list[Transition] = [
            Grant(self.who, ttl, force=True, fenced=fenced),
            Grant(self.who, ttl, force=True, fenced=fenced),
            Acquire(self.who, ttl, fenced),
            Acquire(self.who, ttl, fenced, ticket),
            GiveUp(ticket),
            Transfer(self.who, other, ttl, self._epochs.get(space)),
            Release(self.who, self._epochs.get(space)),
            Renew(self.who, ttl, self._epochs.get(space)),
            Revoke(bar=chance.choice([0, 1_000])),
        ]
        transition = chance.choice(transitions)
        if self.way == "ssh" and isinstance(transition, Grant | Revoke | Release):
            self._change_by_ssh(space, transition, say)
            return
        with Repository(self.stage.path) as repository:
            changed = self.stage.authority(repository).change(space, transition)
        began = isinstance(transition, Grant | Transfer) or (
            isinstance(transition, Acquire) and changed.waiting is None
        )
        if began and changed.lease is not None:
            say(("epoch", space, changed.epoch, changed.head, changed.lease.holder))
            if changed.lease.holder == self.who:
                self._epochs[space] = changed.epoch

    def _change_by_ssh(self, space: str, transition: Grant | Revoke | Release, say: Say) -> None:
        address = f"{REPO}/{space}"
        command = {
            Grant: f"lease grant {address} {self.who} --ttl 30 --force",
            Revoke: f"lease revoke {address} --bar 1",
            Release: f"lease release {address}",
        }[type(transition)]
        done = self.stage.actors[self.who].try_ssh(command)
        say((f"{'done' if done.ok else 'not done'} by ssh", space))
        if done.status == 70 or "internal error" in done.stderr:
            say(("failed", space, done.stderr[-1500:]))
