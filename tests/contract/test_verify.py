"""Each kind of damage, made by hand in a real repo: verify names the first broken commit and the rule."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from shardd import GitLog, MemoryLog, migrate_space
from shardd.authority.authorities import embedded_authority
from shardd.commands.verify_logs import reports, shown
from shardd.core.codec import encode_event, genesis
from shardd.core.event import Draft, Event, parse_time
from shardd.core.import_chain import of_events
from shardd.core.jsonl import Numbered
from shardd.core.lease import Acquire, Grant, Release, Revoke
from shardd.core.objects import commit_oid
from shardd.core.refs import lease_ref, space_ref
from shardd.core.roles import FileAccess
from shardd.errors import Unavailable
from shardd.git.repository import Repository
from shardd.upkeep.verify import Keys, Report, spaces_in, verify
from tests.authorities import loosen

SPACE = "whynot"
TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"


@dataclass
class Scene:
    """A repo with eight events: two by nobody, three of epoch 1 (alice), three of epoch 3 (bob; 2 was a revocation)."""

    path: Path

    def git(self, *words: str, input: bytes = b"") -> str:
        done = subprocess.run(["git", "-C", str(self.path), *words], input=input, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.decode().strip()

    def raws(self, ref: str = space_ref(SPACE)) -> list[bytes]:
        listed = self.git("rev-list", "--reverse", ref).split()
        with Repository(self.path) as repository:
            return [repository.commit(oid) for oid in listed]

    def write(self, raw: bytes) -> str:
        return self.git("hash-object", "-t", "commit", "-w", "--stdin", "--literally", input=raw)

    def rewrite(self, raws: list[bytes], ref: str = space_ref(SPACE)) -> list[str]:
        """Make these the log, each on the one before it, if it names that as its parent by its place."""
        oids: list[str] = []
        for raw in raws:
            if oids:
                raw = re.sub(rb"\nparent [0-9a-f]{40}\n", b"\nparent " + oids[-1].encode() + b"\n", raw, count=1)
            oids.append(self.write(raw))
        self.git("update-ref", ref, oids[-1])
        return oids

    def report(self, keys: Keys | None = None) -> Report:
        with Repository(self.path) as repository:
            [refs] = spaces_in(repository.git, bare=True)
            return verify(repository, refs, keys)

    def drop_journal(self) -> None:
        self.git("update-ref", "-d", lease_ref(SPACE))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("made") / "log.git"
    log = GitLog(path)
    log.append(SPACE, "t", {"n": 1}, actor="ann", id="e1")
    log.append(SPACE, "t", {"n": 2}, actor="ann", id="e2")
    with Repository(path) as repository:
        authority = embedded_authority(repository, label="log", rights=FileAccess)
        authority.change(SPACE, Acquire("alice"))
        for n in (3, 4, 5):
            GitLog(path, principal="alice").append(SPACE, "t", {"n": n}, id=f"e{n}")
        authority.change(SPACE, Revoke(bar=0))
        authority.change(SPACE, Grant("bob"))
        for n in (6, 7, 8):
            GitLog(path, principal="bob").append(SPACE, "t", {"n": n}, id=f"e{n}")
        authority.change(SPACE, Release("bob"))
    return path


@pytest.fixture
def scene(made: Path, tmp_path: Path) -> Scene:
    subprocess.run(["cp", "-r", str(made), str(tmp_path / "log.git")], check=True)
    return Scene(tmp_path / "log.git")


def test_a_whole_log_is_whole(scene: Scene) -> None:
    report = scene.report()
    assert report.broken is None
    assert (report.events, report.epochs, report.gaps) == (8, 3, 0)
    assert report.head == GitLog(scene.path).head(SPACE)


def broken(scene: Scene, rule: str, oid: str, says: str, *, seq: int | None) -> None:
    found = scene.report().broken
    assert found is not None
    assert (found.rule, found.oid, found.seq) == (rule, oid, seq), found
    assert says in found.detail, found


Change = Callable[[bytes], bytes]


def swap(old: bytes, new: bytes) -> Change:
    def change(raw: bytes) -> bytes:
        assert old in raw
        return raw.replace(old, new)

    return change


# Which event is changed, how, and what verify says of it; every later commit is chained anew, so nothing else is wrong.
EVENTS: list[tuple[int, Change, str, str]] = [
    (4, swap(b"Seq: 4", b"Seq: 5"), "seq-gap", "says Seq: 5, and follows on seq 3"),
    (4, swap(b"Seq: 4", b"Seq: 3"), "seq-gap", "says Seq: 3, and follows on seq 3"),
    (4, swap(b"Event-Id: e4", b"Event-Id: e1"), "duplicate-event", "the event e1 is also at seq 1"),
    (4, swap(b"Lease-Epoch: 1", b"Lease-Epoch: 3"), "epoch", "says epoch 3; by the journal epoch 1 was in force"),
    (6, swap(b"Lease-Epoch: 3", b"Lease-Epoch: 2"), "epoch", "says epoch 2; by the journal epoch 3 was in force"),
    (2, swap(b"Z\n", b"Z\nLease-Epoch: 1\n"), "epoch", "says epoch 1; by the journal none was in force"),
    (4, swap(b'{"n":4}', b'{"n":4'), "bad-event", "data: "),
    (4, swap(b'{"n":4}', b'{"n":4,"n":4}'), "bad-event", "'n' stands twice"),
    (4, swap(b"t\n\n", b"two words\n\n"), "bad-event", "type: "),
    (4, swap(b"Actor: alice", b"Actor: alice\r"), "bad-event", "carriage return"),
    (4, swap(b"Time: 2", b"Time: 0"), "bad-event", "Time: "),
    (4, swap(b"\n\nSeq: 4", b"\n\nColour: red\nSeq: 4"), "bad-event", "'Colour'"),
    (4, swap(b"tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904", b"tree " + b"1" * 40), "bad-event", "no files"),
    (4, swap(b"\nauthor", b"\nencoding latin1\nauthor"), "bad-event", "encoding: "),
    (4, lambda raw: raw.replace(b"\nauthor", raw[45:93] + b"\nauthor", 1), "not-linear", "the one parent"),
]  # fmt: skip


@pytest.mark.parametrize(("at", "change", "rule", "says"), EVENTS)
def test_a_forged_event_is_named(scene: Scene, at: int, change: Change, rule: str, says: str) -> None:
    # Without the journal where it is not what is tested: its heads are those of the log as it was.
    if "by the journal" not in says:
        scene.drop_journal()
    raws = scene.raws()
    raws[at] = change(raws[at])
    oids = scene.rewrite(raws)
    if "by the journal" in says:
        entries = [rebase_entry(raw, oids) for raw in scene.raws(lease_ref(SPACE))]
        scene.rewrite(entries, lease_ref(SPACE))
    broken(scene, rule, oids[at], says, seq=at)


def rebase_entry(raw: bytes, oids: list[str]) -> bytes:
    """The journal's entry, for a log that was chained anew."""
    match = re.search(rb"Resumed-At: (\d+) ([0-9a-f]{40})", raw)
    assert match
    return raw.replace(match[2], oids[int(match[1])].encode())


def test_an_event_taken_out_is_missed(scene: Scene) -> None:
    scene.drop_journal()
    raws = scene.raws()
    oids = scene.rewrite(raws[:4] + raws[5:])
    broken(scene, "seq-gap", oids[4], "says Seq: 5, and follows on seq 3", seq=4)


def test_an_epoch_that_goes_back_is_seen_without_a_journal(scene: Scene) -> None:
    scene.drop_journal()
    raws = scene.raws()
    raws[8] = swap(b"Lease-Epoch: 3", b"Lease-Epoch: 1")(raws[8])
    oids = scene.rewrite(raws)
    broken(scene, "epoch", oids[8], "epoch 1 after epoch 3", seq=8)


def test_an_epoch_that_nobody_held_covers_no_event(scene: Scene) -> None:
    """The revocation is made the last entry, and the events after it say its epoch."""
    raws = scene.raws()
    for at in (6, 7, 8):
        raws[at] = swap(b"Lease-Epoch: 3", b"Lease-Epoch: 2")(raws[at])
    oids = scene.rewrite(raws)
    scene.rewrite([rebase_entry(raw, oids) for raw in scene.raws(lease_ref(SPACE))[:2]], lease_ref(SPACE))
    broken(scene, "epoch", oids[6], "says epoch 2, which nobody held", seq=6)


def test_a_genesis_of_another_space_is_refused(scene: Scene) -> None:
    scene.drop_journal()
    raws = scene.raws()
    oids = scene.rewrite([genesis("other"), *raws[1:]])
    broken(scene, "genesis", oids[0], "not the first commit of the space", seq=None)


def test_a_log_that_begins_with_an_event_is_refused(scene: Scene) -> None:
    scene.drop_journal()
    raws = scene.raws()
    root = re.sub(rb"\nparent [0-9a-f]{40}\n", b"\n", raws[1])
    oids = scene.rewrite([root, *raws[2:]])
    broken(scene, "genesis", oids[0], "genesis", seq=None)


@pytest.mark.parametrize("how", [["--bare", "--depth=3"], ["--mirror", "--depth=1"], ["--mirror", "--depth=2"]])
def test_a_shallow_clone_says_what_it_lacks(scene: Scene, tmp_path: Path, how: list[str]) -> None:
    """Of the journal as well, which a mirror has."""
    scene.git("clone", "--quiet", *how, f"file://{scene.path}", str(tmp_path / "shallow.git"))
    found = Scene(tmp_path / "shallow.git").report().broken
    assert found is not None
    assert found.rule == "shallow"
    assert "git fetch --unshallow" in found.remedy
    with Repository(tmp_path / "shallow.git") as repository:
        answer = shown(reports(repository, bare=True, space=None, keys=Keys()))
        lines = answer.lines(colours=False)
        assert next(lines).startswith("whynot: SHALLOW: shallow: commit ")
        with pytest.raises(Unavailable, match="does not reach back"):
            next(lines)


def loose(scene: Scene, oid: str) -> Path:
    path = loosen(scene.path) / "objects" / oid[:2] / oid[2:]
    assert path.is_file()
    path.chmod(0o644)
    return path


def test_a_lost_commit_is_named(scene: Scene) -> None:
    scene.drop_journal()
    oid = scene.git("rev-parse", f"spaces/{SPACE}~3")
    loose(scene, oid).unlink()
    broken(scene, "missing", oid, "cannot be read", seq=None)


def test_a_torn_commit_is_named(scene: Scene) -> None:
    scene.drop_journal()
    oid = scene.git("rev-parse", f"spaces/{SPACE}~3")
    path = loose(scene, oid)
    path.write_bytes(path.read_bytes()[:-20])
    broken(scene, "missing", oid, "", seq=None)


def test_bytes_under_a_name_that_is_not_theirs_are_seen(scene: Scene) -> None:
    scene.drop_journal()
    oid = scene.git("rev-parse", f"spaces/{SPACE}~3")
    raw = swap(b'{"n":5}', b'{"n":9}')(scene.raws()[5])
    forged = scene.write(raw)
    assert commit_oid(raw) == forged
    loose(scene, oid).write_bytes(loose(scene, forged).read_bytes())
    found = scene.report().broken
    assert found is not None
    # Git may notice it first, or not at all; either way it is this commit.
    assert found.rule in ("oid", "missing")
    assert found.oid == oid


def test_a_log_that_was_rewound_lacks_the_heads_of_the_journal(scene: Scene) -> None:
    scene.git("update-ref", space_ref(SPACE), f"spaces/{SPACE}~5")
    found = scene.report().broken
    assert found is not None
    assert (found.rule, found.seq) == ("resumed-at", 3)
    assert "this log ends before" in found.detail


def test_log_and_journal_are_seen_at_one_moment(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """An epoch begins, and an event of it comes, after the one was looked at and before the other is."""
    read = Repository.read_ref
    looks: list[str] = []

    def read_ref(self: Repository, ref: str) -> str | None:
        looks.append(ref)
        if len(looks) == 2:
            with Repository(scene.path) as repository:
                embedded_authority(repository, label="log", rights=FileAccess).change(SPACE, Grant("alice"))
            GitLog(scene.path, principal="alice").append(SPACE, "t", {"n": 9}, id="e9")
        return read(self, ref)

    monkeypatch.setattr(Repository, "read_ref", read_ref)
    report = scene.report()
    assert set(looks[:2]) == {space_ref(SPACE), lease_ref(SPACE)}
    assert (report.broken, report.events, report.epochs) == (None, 9, 4)


def test_a_copy_whose_journal_has_gone_on_is_behind_and_not_broken(scene: Scene, tmp_path: Path) -> None:
    """One `git fetch` may read the log before the other."""
    copy = Scene(tmp_path / "copy.git")
    subprocess.run(["git", "clone", "--quiet", "--mirror", str(scene.path), str(copy.path)], check=True)
    copy.git("update-ref", space_ref(SPACE), f"spaces/{SPACE}~5")
    report = copy.report()
    assert report.behind
    assert report.events == 3


def test_a_copy_whose_log_has_gone_on_is_behind_and_not_broken(scene: Scene, tmp_path: Path) -> None:
    """Or it read the journal before, or has not fetched that again at all."""
    copy = Scene(tmp_path / "copy.git")
    subprocess.run(["git", "clone", "--quiet", "--mirror", str(scene.path), str(copy.path)], check=True)
    whole = copy.report()
    assert whole.broken is None
    copy.git("update-ref", lease_ref(SPACE), f"{lease_ref(SPACE)}~1")
    report = copy.report()
    assert report.behind
    assert 0 < report.events < whole.events
    # The same where log and journal are written is no matter of moments.
    scene.git("update-ref", lease_ref(SPACE), f"{lease_ref(SPACE)}~1")
    found = scene.report().broken
    assert found is not None
    assert found.rule == "epoch"


def test_a_tenure_that_resumed_from_another_history_is_seen(scene: Scene) -> None:
    """The whole log is written anew, each commit in order; only the journal remembers what was there."""
    raws = scene.raws()
    raws[1] = swap(b'{"n":1}', b'{"n":0}')(raws[1])
    scene.rewrite(raws)
    found = scene.report().broken
    assert found is not None
    assert found.rule == "resumed-at"
    assert "epoch 1 resumed at seq 2" in found.detail
    assert found.oid == scene.git("rev-list", "--reverse", lease_ref(SPACE)).split()[0]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda e: [e[0], e[2], e[1]], "epochs only grow: epoch 2 after epoch 3"),
        (lambda e: [e[0], e[1], swap(b"Holder: bob", b"Holder: eve")(e[2])], "form in which the authority"),
        (lambda e: [e[0], e[1], swap(b"Reason: grant", b"Reason: whim")(e[2])], "journal"),
        (lambda e: [e[0], e[1], e[2] + b"\n"], "journal"),
    ],
)  # fmt: skip
def test_a_forged_journal_is_named(scene: Scene, change: Callable[[list[bytes]], list[bytes]], says: str) -> None:
    oids = scene.rewrite(change(scene.raws(lease_ref(SPACE))), lease_ref(SPACE))
    found = scene.report().broken
    assert found is not None
    assert (found.rule, found.oid) == ("journal", oids[2])
    assert says in found.detail


def test_only_an_import_leaves_out_numbers(tmp_path: Path) -> None:
    def numbered(*seqs: int) -> list[Numbered]:
        source = MemoryLog()
        events = [source.append(SPACE, "t", actor="a", id=f"e{n}") for n in seqs]
        return [Numbered(n, each.draft) for n, each in zip(seqs, of_events(events), strict=True)]

    scene = Scene(tmp_path / "log.git")
    log = GitLog(scene.path)
    log.import_events(SPACE, numbered(3, 5, 9), keep_gaps=True)
    report = scene.report()
    assert (report.broken, report.gaps, report.events) == (None, 2, 3)

    with Repository(scene.path) as repository:
        authority = embedded_authority(repository, label="log", rights=FileAccess)
        authority.change(SPACE, Acquire("alice"))
    last = GitLog(scene.path, principal="alice").append(SPACE, "t", id="e10")
    skipping = encode_event(draft("e12"), parent=last.oid, seq=12)
    scene.git("update-ref", space_ref(SPACE), scene.write(skipping))
    broken(scene, "seq-gap", commit_oid(skipping), "says Seq: 12, and follows on seq 10", seq=11)


def draft(id: str) -> Draft:
    return Draft(type="t", actor="ann", id=id, time=parse_time("2026-06-15T10:00:00Z"))


def test_the_first_of_several_damages_is_named(scene: Scene) -> None:
    scene.drop_journal()
    raws = scene.raws()
    raws[3] = swap(b"Event-Id: e3", b"Event-Id: e1")(raws[3])
    raws[5] = swap(b"Seq: 5", b"Seq: 50")(raws[5])
    oids = scene.rewrite(raws)
    broken(scene, "duplicate-event", oids[3], "also at seq 1", seq=3)


def test_signatures_are_checked_with_the_keys_at_hand(scene: Scene, tmp_path: Path) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "ann", "-f", str(key)], check=True)
    signing = ["-c", "gpg.format=ssh", "-c", f"user.signingkey={key}.pub", "-c", "user.name=ann"]
    scene.drop_journal()
    tip = scene.git(
        *signing, "commit-tree", "-S", "-p", space_ref(SPACE), "-m", "t", "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
    )
    scene.git("update-ref", space_ref(SPACE), tip)
    assert scene.report().broken is None
    assert scene.report().signed == {"unknown key": 1}
    allowed = Keys([f"tester@example.org {Path(f'{key}.pub').read_text().strip()}"])
    assert scene.report(allowed).signed == {"good": 1}

    signed = scene.raws()[9]
    oids = scene.rewrite([*scene.raws()[:9], swap(b"\n\nt\n", b"\n\nu\n")(signed)])
    broken(scene, "signature", oids[9], "does not fit", seq=9)


@pytest.mark.parametrize(
    ("signer", "actor", "ours", "said"),
    [
        ("ann", "ann", True, "good"),
        ("bob", "ann", True, "bob signed it, and its actor is ann"),
        ("ann", "bob", True, "ann signed it, and its actor is bob"),
        ("bob", "ann", False, "of another"),
        ("tester@example.org", "ann", False, "good"),
        ("bob,*@example.org", "ann", False, "good"),
        ("*@elsewhere.org", "ann", False, "of another"),
    ],
)
def test_who_signed_is_compared_with_the_actor(
    scene: Scene, signing_key: Path, signer: str, actor: str, ours: bool, said: str
) -> None:
    scene.drop_journal()
    signing = ["-c", "gpg.format=ssh", "-c", f"user.signingkey={signing_key}.pub"]
    tip = scene.git(*signing, "commit-tree", "-S", "-p", space_ref(SPACE), "-m", "t", "-m", f"Actor: {actor}", TREE)
    scene.git("update-ref", space_ref(SPACE), tip)
    report = scene.report(Keys([f"{signer} {Path(f'{signing_key}.pub').read_text().strip()}"], ours=ours))
    if said in ("good", "of another"):
        assert (report.broken, report.signed) == (None, {said: 1})
    else:
        assert report.broken is not None
        assert (report.broken.rule, report.broken.seq, report.broken.detail) == ("signature", 9, said)


@pytest.fixture(scope="module")
def signing_key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    key = tmp_path_factory.mktemp("signing") / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(key)], check=True)
    return key


def test_what_a_person_commits_is_whole_too(scene: Scene) -> None:
    tip = scene.git("-c", "user.name=bob", "commit-tree", "-p", space_ref(SPACE), "-m", "note", "-m", '{ "a" : 1.0 }',
                    "4b825dc642cb6eb9a060e54bf8d69288fbee4904")  # fmt: skip
    scene.git("update-ref", space_ref(SPACE), tip)
    report = scene.report()
    assert (report.broken, report.events) == (None, 9)


def test_a_migrated_copy_is_whole_and_keeps_the_source_epochs(scene: Scene, tmp_path: Path) -> None:
    copy = GitLog(tmp_path / "copy.git")
    migrate_space(GitLog(scene.path), copy, SPACE)
    events: list[Event] = list(copy.events(SPACE))
    assert [event.source_epoch for event in events] == [None, None, 1, 1, 1, 3, 3, 3]
    assert Scene(tmp_path / "copy.git").report().broken is None
