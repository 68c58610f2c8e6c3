"""Snapshots on disk: used where they are right, and nothing but slower where they are not."""

from __future__ import annotations

import pwd
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from shardd.core.event import Event, parse_time
from shardd.core.fold import Reducer
from shardd.errors import Misuse
from shardd.logs.as_of import parse_point, resolve
from shardd.logs.memory_log import MemoryLog
from shardd.logs.snapshots import SnapshotStore, catch_up
from tests.backends import SPACE, appended
from tests.drafting import Said

ONE: Said = ("acme.seen", {})


class Counting:
    """A fold that counts events, and how often it was asked to step."""

    def __init__(self, version: int = 1) -> None:
        self.steps = 0
        self.fold = Reducer(name="counting", version=version, initial=0, step=self._step)

    def _step(self, state: int, event: Event) -> int:
        self.steps += 1
        return state + 1


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def log_of(events: int) -> MemoryLog:
    log = MemoryLog()
    appended(log, [ONE] * events)
    return log


def test_a_later_run_steps_over_what_is_new_alone(tmp_path: Path) -> None:
    log = log_of(300)
    assert catch_up(log, SPACE, Counting().fold, snapshots=SnapshotStore(tmp_path)).state == 300
    log.append(SPACE, "acme.seen")
    later = Counting()
    assert catch_up(log, SPACE, later.fold, snapshots=SnapshotStore(tmp_path)).state == 301
    assert later.steps == 1


def test_a_few_events_are_not_worth_a_file(tmp_path: Path) -> None:
    catch_up(log_of(99), SPACE, Counting().fold, snapshots=SnapshotStore(tmp_path))
    assert files(tmp_path) == []


def test_the_files_are_ours_alone(tmp_path: Path) -> None:
    catch_up(log_of(100), SPACE, Counting().fold, snapshots=SnapshotStore(tmp_path / "new"))
    (file,) = files(tmp_path)
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700


def test_another_version_of_the_fold_begins_anew(tmp_path: Path) -> None:
    log = log_of(100)
    catch_up(log, SPACE, Counting().fold, snapshots=SnapshotStore(tmp_path))
    newer = Counting(version=2)
    assert catch_up(log, SPACE, newer.fold, snapshots=SnapshotStore(tmp_path)).state == 100
    assert newer.steps == 100


def test_few_are_kept(tmp_path: Path) -> None:
    log, store = MemoryLog(), SnapshotStore(tmp_path, keep=2)
    for number in range(5):
        appended(log, [ONE] * 100, prefix=str(number))
        catch_up(log, SPACE, Counting().fold, snapshots=store)
    assert [int(file.name.split("-")[1]) for file in files(tmp_path)] == [400, 500]


def test_what_a_killed_process_or_an_older_version_left_goes_in_time(tmp_path: Path) -> None:
    log, store = log_of(100), SnapshotStore(tmp_path, keep=1)
    for version in range(20):
        catch_up(log, SPACE, Counting(version).fold, snapshots=store)
    assert len(files(tmp_path)) == 4


GARBAGE = [b"", b"\n", b"{}", b"{}\n1", b"\xff\xfe", b"not json\n100", b'{"space":"wiki"}\n100', b"[" * 100_000]


@pytest.mark.parametrize("garbage", GARBAGE)
def test_a_garbage_file_is_replaced(tmp_path: Path, garbage: bytes) -> None:
    log = log_of(100)
    catch_up(log, SPACE, Counting().fold, snapshots=SnapshotStore(tmp_path))
    (file,) = files(tmp_path)
    good = file.read_bytes()
    file.write_bytes(garbage)
    assert catch_up(log, SPACE, Counting().fold, snapshots=SnapshotStore(tmp_path)).state == 100
    assert file.read_bytes() == good


def test_a_changed_state_is_noticed(tmp_path: Path) -> None:
    log = log_of(100)
    catch_up(log, SPACE, Counting().fold, snapshots=SnapshotStore(tmp_path))
    (file,) = files(tmp_path)
    file.write_bytes(file.read_bytes().replace(b"\n100", b"\n999"))
    assert catch_up(log, SPACE, Counting().fold, snapshots=SnapshotStore(tmp_path)).state == 100


def test_a_file_under_another_name_is_not_believed(tmp_path: Path) -> None:
    log = log_of(150)
    head = log.head(SPACE)
    assert head is not None
    half = catch_up(log, SPACE, Counting().fold, up_to=100)
    SnapshotStore(tmp_path).save(SPACE, Counting().fold, half)
    (file,) = files(tmp_path)
    file.rename(file.with_name(f"1-{head.seq}-{head.oid}.json"))
    assert catch_up(log, SPACE, Counting().fold, snapshots=SnapshotStore(tmp_path)).state == 150


def test_a_state_that_the_fold_cannot_read_is_rebuilt(tmp_path: Path) -> None:
    def refuse(value: object) -> int:
        raise ZeroDivisionError

    log, picky = log_of(100), Counting()
    catch_up(log, SPACE, Counting().fold, snapshots=SnapshotStore(tmp_path))
    fold = replace(picky.fold, from_json=refuse)
    assert catch_up(log, SPACE, fold, snapshots=SnapshotStore(tmp_path)).state == 100
    assert picky.steps == 100


def test_garbage_does_not_push_out_what_is_good(tmp_path: Path) -> None:
    log, store = log_of(100), SnapshotStore(tmp_path)
    catch_up(log, SPACE, Counting().fold, snapshots=store)
    folder = files(tmp_path)[0].parent
    for number in range(5):
        (folder / f"1-{9000 + number}-{'a' * 40}.json").write_bytes(b"x")
    appended(log, [ONE] * 100, prefix="more")
    catch_up(log, SPACE, Counting().fold, snapshots=store)
    again = Counting()
    catch_up(log, SPACE, again.fold, snapshots=store)
    assert again.steps == 0


def test_a_rewind_drops_the_snapshots_of_what_is_gone(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path)
    long, short = log_of(300), log_of(200)  # the same events, so the same oids, as far as they go
    for log in (short, long):
        catch_up(log, SPACE, Counting().fold, snapshots=store)
    counting = Counting()
    assert catch_up(short, SPACE, counting.fold, snapshots=store).state == 200
    assert counting.steps == 0
    assert [int(file.name.split("-")[1]) for file in files(tmp_path)] == [200]


def test_a_place_where_nothing_can_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    log, store = log_of(100), SnapshotStore(tmp_path / "file")
    first = catch_up(log, SPACE, Counting().fold, snapshots=store)
    assert first.state == 100
    assert not store.save(SPACE, Counting().fold, first)
    again = Counting()
    assert catch_up(log, SPACE, again.fold, known=first, snapshots=store).state == 100
    assert again.steps == 0


def test_folds_of_spaces_do_not_mix(tmp_path: Path) -> None:
    log, store = log_of(100), SnapshotStore(tmp_path)
    catch_up(log, SPACE, Counting().fold, snapshots=store)
    log.append("other", "acme.seen")
    assert catch_up(log, "other", Counting().fold, snapshots=store).state == 1
    assert catch_up(log, "nowhere", Counting().fold, snapshots=store).state == 0


def test_the_store_of_a_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    subprocess.run(["git", "init", "--quiet", str(tmp_path / "clone")], check=True)
    for repo in ("clone", "bare.git", "other.git"):
        catch_up(log_of(100), SPACE, Counting().fold, snapshots=SnapshotStore.of(tmp_path / repo))
    bare, other, clone = sorted(str(file.relative_to(tmp_path).parents[2]) for file in tmp_path.rglob("*.json"))
    assert clone == "clone/.git/shardd-cache/snapshots"
    assert bare != other
    assert all(folder.startswith("cache/shardd/snapshots/") for folder in (bare, other))


def test_who_has_no_home_reads_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(uid: int) -> None:
        raise KeyError(uid)

    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    monkeypatch.chdir(tmp_path)
    store = SnapshotStore.of(tmp_path / "bare.git")
    assert catch_up(log_of(100), SPACE, Counting().fold, snapshots=store).state == 100
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "point"),
    [
        ("42", "42"),
        ("0", "0"),
        ("1234567", "1234567"),  # digits alone are a seq
        ("1" * 40, "'" + "1" * 40 + "'"),
        ("abcdef0", "'abcdef0'"),
        ("ABCDEF0", "'abcdef0'"),
        ("2026-06-15T10:00:00Z", "datetime.datetime(2026, 6, 15, 10, 0, tzinfo=datetime.timezone.utc)"),
        ("2026-06-15 12:00+02:00", "datetime.datetime(2026, 6, 15, 10, 0, tzinfo=datetime.timezone.utc)"),
    ],
)
def test_points(text: str, point: str) -> None:
    assert repr(parse_point(text)) == point


@pytest.mark.parametrize("text", ["", "abc", "-1", "HEAD", "2026-06-15", "2026-06-15T10:00:00", "x" * 40])
def test_what_is_no_point(text: str) -> None:
    with pytest.raises(Misuse, match="is no point in a log"):
        parse_point(text)


def test_points_that_the_log_does_not_reach() -> None:
    log = log_of(3)
    for point, why in (
        (4, "there is no seq 4 in wiki: its head is 3"),
        (-1, "no seq -1"),
        ("ab" * 20, "no event abab"),
    ):
        with pytest.raises(Misuse, match=why):
            resolve(log, SPACE, point)
    with pytest.raises(Misuse, match="no seq 1"):
        resolve(log, "nowhere", 1)
    assert resolve(log, "nowhere", 0) == 0


def test_a_time_takes_all_that_can_have_been_there() -> None:
    log = MemoryLog()
    for minute in (1, 5, 2, 9, 3):
        log.append(SPACE, "acme.seen", time=parse_time(f"2026-06-15T10:0{minute}:00Z"))
    found = [resolve(log, SPACE, f"2026-06-15T10:0{minute}:00Z") for minute in range(10)]
    assert found == [0, 1, 1, 1, 1, 3, 3, 3, 3, 5]
