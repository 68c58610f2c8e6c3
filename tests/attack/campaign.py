"""The attack, in rounds: actors work for a moment, troubled by nemeses; then it is quiet, and everything is checked.

Who plays what, and what befalls them, follows from the seed and the number of the round, but for timing. Some actors,
some of their hooks, and now and then the servers carry a SHARDD_KILL_AT besides, and die at a point of their own. A
server that was killed is started again at once, as whoever runs one would; actors are not.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import sys
import time
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from shardd.files.crash_points import VARIABLE, Point
from tests.attack.actors import appending, founding, leasing, lines, pushing, reading, remote
from tests.attack.actors.life import Life, Play
from tests.attack.checks import Broken, Checker
from tests.attack.children import Child
from tests.attack.nemeses import killing, maintenance, saving, stopping
from tests.attack.nemeses.trouble import Nemesis, Trouble
from tests.attack.processes import users
from tests.attack.stage import PEOPLE, REPO, SPACES, Stage

CAST: dict[str, Play] = {
    "push by ssh": pushing.by_ssh,
    "push by path": pushing.by_path,
    "git log": appending.by_log,
    "remote log": remote.by_remote_log,
    "lines": lines.by_lines,
    "leases by ssh": leasing.by_ssh,
    "leases on the host": leasing.by_host,
    "import": founding.by_import,
    "first append": founding.first_append,
}
DEAR = "push by openssh"  # each one starts Python four times
READERS: dict[str, Play] = {"near": reading.near, "clone": reading.clones, "far": reading.far}
NEMESES: dict[str, Nemesis] = {
    "maintenance": maintenance.upkeep,
    "shots": killing.shots,
    "server-kills": killing.server_kills,
    "stops": stopping.stops,
    "held-up": stopping.held_up,
    "backups": saving.backups,
}
OTHERS = ("seams", "readers", "odd-types")
"""What else can be left out, besides parts of the cast and nemeses."""

_LONGEST = 600.0
"""Seconds after which an actor counts as hanging: each waits a minute for a lock, at most, and a few times."""


@dataclass(slots=True)
class Campaign:
    """seed: what is printed, and what repeats the campaign's choices

    without: what to leave out of CAST, DEAR, NEMESES and OTHERS; operations: how much each actor does in a round
    """

    stage: Stage
    seed: int
    without: Collection[str] = ()
    operations: int = 4
    counts: Counter[str] = field(default_factory=Counter)
    checker: Checker = field(init=False)
    _fate: str = ""
    _points: dict[str, itertools.cycle[Point]] = field(default_factory=dict)
    _children: list[Child] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.checker = Checker(self.stage)

    def run(self, *, rounds: int, seconds: float | None = None) -> int:
        """Fight so many rounds, or as many as fit; how many. Broken, and where to read on, if anything was found."""
        end = None if seconds is None else time.monotonic() + seconds
        done = 0
        print(f"seed {self.seed}, history {self.stage.history.path}", flush=True)
        self.checker.look()
        try:
            for number in range(rounds):
                if end is not None and time.monotonic() > end:
                    break
                self.stage.history.note(round=number)
                self.round(number)
                done += 1
                self.counts["round"] += 1
            self.checker.whole()
        except BaseException:
            self.stage.history.note(failed=done)
            print(f"seed {self.seed}, round {done}, history {self.stage.history.path}", file=sys.stderr, flush=True)
            raise
        finally:
            self.counts.update(self.checker.told.counts)
            for child in self._children:
                with contextlib.suppress(ChildProcessError, ProcessLookupError):
                    child.kill(group=True)
                    child.ends(group=True)
        return done

    def round(self, number: int) -> None:
        chance = random.Random(f"{self.seed}/{number}")
        finish = self.stage.folder / f"finish-{number}"
        spaces = tuple(f"{REPO}/{space}" for space in (SPACES[:1] if chance.random() < 0.3 else SPACES))
        self._open(chance)
        actors = self._actors(number, chance, spaces, finish)
        pids = [child.pid for _, child in actors]
        readers = [] if "readers" in self.without else self._readers(number, chance, spaces, finish)
        to_fear = [name for name in NEMESES if name not in self.without]
        drawn = [name for name in to_fear if chance.random() < 0.75] or to_fear[:1]
        troubles = [(NEMESES[name], self._trouble(number, name, finish, pids)) for name in drawn]
        nemeses = [Child(lambda _, play=play, trouble=trouble: play(trouble)) for play, trouble in troubles]  # type: ignore[misc]
        self._children = [*(child for _, child in actors), *readers, *nemeses]
        self._attend([child for _, child in actors])
        finish.touch()
        self._attend([*readers, *nemeses])
        for name, child in actors:
            ending = child.ends(group=True)
            self.counts[f"killed: {name}" if ending.killed else f"ended: {name.partition(',')[0]}"] += 1
        for child in [*readers, *nemeses]:
            child.ends(group=True)
        self._children = []
        finish.unlink()
        self._check(number, chance)

    def _check(self, number: int, chance: random.Random) -> None:
        servers = [server for server in (self.stage.server, self.stage.openssh) if server is not None and server.alive]
        self.checker.quiet({server.pid for server in servers})
        if self._fate or not self.stage.server.alive:  # one that is still to die would do so amid what is checked
            self._start({})
        self.checker.look()
        for space in chance.sample(SPACES, 2):
            label = f"{REPO}/{space}"
            who = chance.choice(PEOPLE)
            life = self._life(f"{number}/{space}", who, (label,), self.stage.folder / "never", "")
            way = chance.choice(["ssh", "path"])
            self.checker.goes_on(label, who, lambda: pushing.push(life, way, [label]) == "ok")  # noqa: B023
        self.checker.look()
        self.checker.answered_again(chance)
        if number % 10 == 9:
            self.checker.whole()

    def _actors(
        self, number: int, chance: random.Random, spaces: tuple[str, ...], finish: Path
    ) -> list[tuple[str, Child]]:
        found: list[tuple[str, Child]] = []
        duel = tuple(chance.sample(PEOPLE[1:-1], 2)) if chance.random() < 0.4 else ()
        for who in PEOPLE:
            name = chance.choice([name for name in CAST if name not in self.without])
            play = CAST[name]
            if who in duel:
                name, play = "rival", pushing.rival
            elif duel and who == PEOPLE[0]:
                name, play = "hand over", partial(leasing.hand_over, rivals=duel)  # type: ignore[arg-type]
            elif (
                who == PEOPLE[-1]
                and self.stage.openssh is not None
                and chance.random() < 0.4
                and DEAR not in self.without
            ):
                name, play = DEAR, pushing.by_openssh
            kill_at = ""
            if "seams" not in self.without and chance.random() < 0.4:
                # A hook comes to each point once, a worker of ours to most of them once for each thing it does.
                kill_at = f"{self._point(name, chance)}:{1 if name == 'push by path' else chance.randint(1, 4)}"
            life = self._life(f"{number}/{who}", who, spaces, finish, kill_at)
            armed = kill_at if name not in ("push by path", DEAR) else ""
            name = f"{name}, to die {kill_at.partition(':')[0]}" if armed else name
            found.append((name, Child(lambda _, play=play, life=life: play(life), kill_at=armed)))  # type: ignore[misc]
        return found

    def _readers(self, number: int, chance: random.Random, spaces: tuple[str, ...], finish: Path) -> list[Child]:
        found: list[Child] = []
        for i, (_, play) in enumerate([*READERS.items(), ("near", reading.near)]):
            life = self._life(f"{number}/reader-{i}", PEOPLE[i], spaces, finish, "")
            if chance.random() < 0.8:
                found.append(Child(lambda _, play=play, life=life: play(life)))  # type: ignore[misc]
        return found

    def _life(self, seed: str, who: str, spaces: tuple[str, ...], finish: Path, kill_at: str) -> Life:
        chance = random.Random(f"{self.seed}/{seed}")
        odd = "odd-types" not in self.without
        return Life(self.stage, who, chance, spaces, self.operations, finish, kill_at, odd)

    def _trouble(self, number: int, name: str, finish: Path, victims: list[int]) -> Trouble:
        return Trouble(self.stage, random.Random(f"{self.seed}/{number}/{name}"), finish, victims)

    def _attend(self, children: list[Child]) -> None:
        """Until all of these have ended; a server that dies meanwhile is started again."""
        end = time.monotonic() + _LONGEST
        while any(not child.ended for child in children):
            if not self.stage.server.alive:
                self._start({})
            if time.monotonic() > end:
                raise Broken(f"hanging: {[child.pid for child in children if not child.ended]}; see the history")
            time.sleep(0.02)

    def _open(self, chance: random.Random) -> None:
        """Servers that are to die at a point of theirs, in some rounds."""
        if "seams" in self.without:
            return
        if chance.random() < 0.3:
            self._start({VARIABLE: f"{self._point('server', chance)}:{chance.randint(1, 4)}"})
        if self.stage.openssh is not None and chance.random() < 0.3:
            at = {VARIABLE: self._point(DEAR, chance)} if chance.random() < 0.6 else {}
            self.stage.open(openssh=at)

    def _start(self, env: dict[str, str]) -> None:
        if not self.stage.server.alive:
            self.counts[f"killed: server{self._fate}"] += 1
        self._fate = f", to die {env[VARIABLE].partition(':')[0]}" if env else ""
        self.stage.history.note(act="start the server", env=env)
        end = time.monotonic() + _LONGEST / 10
        while True:
            try:
                self.stage.open(server=env)
            except AssertionError as error:
                # Its port is one that the kernel may give to any client that calls just now.
                if "address already in use" not in str(error) or time.monotonic() > end:
                    raise
                self.stage.history.note(act="the port is taken", by=users(self.stage.server.port))
                time.sleep(0.2)
            else:
                return

    def _point(self, way: str, chance: random.Random) -> Point:
        """Every point in turn, in an order of each way's own."""
        if way not in self._points:
            points = list(Point)
            chance.shuffle(points)
            self._points[way] = itertools.cycle(points)
        return next(self._points[way])
