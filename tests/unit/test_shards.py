"""The adapters: one contract for all, and what each does with what is odd or hostile in its kind of place."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from shardd.errors import Corrupt, Misuse, Unavailable
from shardd.wiki.folder_shard import FolderShard
from shardd.wiki.git_shard import GitTreeShard
from shardd.wiki.shard import DictShard, Shard

PAGES = {
    "Home": b"# Home\n",
    "notes/a": b"A\r\n",
    "notes/deep/Über": b"",
    "bad": b"\xff",
}


def git(where: Path, *words: str) -> str:
    env = {
        "PATH": os.environ["PATH"],
        "HOME": "/nonexistent",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "a",
        "GIT_AUTHOR_EMAIL": "a@example.org",
        "GIT_COMMITTER_NAME": "a",
        "GIT_COMMITTER_EMAIL": "a@example.org",
    }
    done = subprocess.run(["git", *words], cwd=where, env=env, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def folder_of(root: Path, pages: dict[str, bytes]) -> Path:
    for key, content in pages.items():
        path = root / f"{key}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def repo_of(root: Path, pages: dict[str, bytes], *, packed: bool = False) -> Path:
    folder_of(root, pages)
    git(root, "init", "--quiet", "--initial-branch=main")
    git(root, "-c", "core.autocrlf=false", "add", "--all")
    git(root, "commit", "--quiet", "--message=pages")
    if packed:
        git(root, "repack", "-adq")
    return root


def _bare(root: Path) -> Shard:
    repo_of(root / "work", PAGES, packed=True)
    git(root, "clone", "--quiet", "--bare", "work", "bare.git")
    return GitTreeShard(root / "bare.git", "main")


SHARDS: dict[str, Callable[[Path], Shard]] = {
    "dict": lambda root: DictShard(PAGES),
    "folder": lambda root: FolderShard(folder_of(root, PAGES)),
    "git": lambda root: GitTreeShard(repo_of(root, PAGES)),
    "git packed": lambda root: GitTreeShard(repo_of(root, PAGES, packed=True)),
    "git bare": _bare,
    "git folder": lambda root: GitTreeShard(
        repo_of(root, {**{f"in/it/{key}": text for key, text in PAGES.items()}, "other": b""}), folder="in/it"
    ),
}
every_shard = pytest.mark.parametrize("make", SHARDS.values(), ids=SHARDS)


@every_shard
def test_every_page_is_listed_once_and_read_as_it_is(make: Callable[[Path], Shard], tmp_path: Path) -> None:
    found = [(source.key, source.read()) for source in make(tmp_path).pages()]
    assert sorted(found) == sorted(PAGES.items())


@every_shard
def test_a_page_is_found_by_its_key_as_it_is_listed(make: Callable[[Path], Shard], tmp_path: Path) -> None:
    shard = make(tmp_path)
    for source in shard.pages():
        found = shard.find(source.key)
        assert found == source
        assert found is not None
        assert found.read() == PAGES[source.key]


@every_shard
@pytest.mark.parametrize(
    "key",
    [
        "",
        "nope",
        "notes",
        "notes/",
        "/Home",
        "./Home",
        "notes/../Home",
        "../Home",
        ".git/x",
        "Home\0",
        "\ud800",
        "a/" * 600,
    ],
)
def test_what_is_no_page(make: Callable[[Path], Shard], tmp_path: Path, key: str) -> None:
    assert make(tmp_path).find(key) is None


def test_the_order_of_a_folder_is_stable(tmp_path: Path) -> None:
    folder_of(tmp_path, dict.fromkeys(("b", "a", "c/z", "c/y", "B"), b""))
    assert [source.where for source in FolderShard(tmp_path).pages()] == ["B.md", "a.md", "b.md", "c/y.md", "c/z.md"]


def test_a_folder_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "secret.md").write_text("secret")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "x.md").write_text("secret")
    root = folder_of(tmp_path / "root", {"Home": b""})
    (root / "file.md").symlink_to(tmp_path / "secret.md")
    (root / "near.md").symlink_to("Home.md")
    (root / "folder").symlink_to(tmp_path / "outside")
    shard = FolderShard(root)
    assert [source.key for source in shard.pages()] == ["Home"]
    assert [shard.find(key) for key in ("file", "near", "folder/x")] == [None, None, None]


def test_a_link_that_appears_after_the_listing_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.md").write_text("secret")
    root = folder_of(tmp_path / "root", {"Home": b"", "notes/secret": b""})
    sources = {source.key: source for source in FolderShard(root).pages()}
    (root / "Home.md").unlink()
    (root / "Home.md").symlink_to(tmp_path / "secret.md")
    (root / "notes" / "secret.md").unlink()
    (root / "notes").rmdir()
    (root / "notes").symlink_to(tmp_path)
    for source in sources.values():
        with pytest.raises(Unavailable, match="cannot be read"):
            source.read()


def test_only_regular_files_without_a_dot_are_pages(tmp_path: Path) -> None:
    root = folder_of(tmp_path, {"Home": b"", ".hidden/x": b"", ".x": b""})
    os.mkfifo(root / "pipe.md")
    (root / "folder.md").mkdir()
    (root / "text.txt").write_text("")
    shard = FolderShard(root)
    assert [source.key for source in shard.pages()] == ["Home"]
    assert [shard.find(key) for key in ("pipe", "folder", ".x", ".hidden/x")] == [None] * 4


def test_a_file_name_that_is_not_utf8_is_named_and_not_left_out(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.md")).write_text("")
    with pytest.raises(Misuse, match=r"the file name b'\\xff.md' is not UTF-8"):
        list(FolderShard(tmp_path).pages())
    repo_of(tmp_path, {})
    with pytest.raises(Misuse, match=r"the file name b'\\xff.md' is not UTF-8"):
        list(GitTreeShard(tmp_path).pages())


def test_places_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(Misuse, match="is not a folder"):
        FolderShard(tmp_path / "nowhere")
    with pytest.raises(Misuse, match="is not a git repository"):
        GitTreeShard(tmp_path)
    with pytest.raises(Misuse, match="'nope' names no commit"):
        list(GitTreeShard(repo_of(tmp_path, {"Home": b""}), "nope").pages())


def test_a_tree_has_no_links_and_only_what_is_committed(tmp_path: Path) -> None:
    (tmp_path / "link.md").symlink_to("/etc/passwd")
    repo_of(tmp_path, {"Home": b"committed", ".hidden": b""})
    (tmp_path / "Home.md").write_text("edited")
    (tmp_path / "new.md").write_text("new")
    shard = GitTreeShard(tmp_path)
    assert [(source.key, source.read()) for source in shard.pages()] == [("Home", b"committed")]
    assert [shard.find(key) for key in ("link", "new", ".hidden")] == [None] * 3


def test_a_listing_stays_with_its_commit_and_the_next_one_follows_the_ref(tmp_path: Path) -> None:
    shard = GitTreeShard(repo_of(tmp_path, {"Home": b"old"}), "main")
    (before,) = shard.pages()
    (tmp_path / "Home.md").write_text("new")
    git(tmp_path, "commit", "--quiet", "--all", "--message=again")
    git(tmp_path, "repack", "-adq")
    (after,) = shard.pages()
    assert (before.read(), after.read()) == (b"old", b"new")
    assert before.where == git(tmp_path, "rev-parse", "HEAD~1") + ":Home.md"


@pytest.mark.parametrize(
    "ref",
    [
        "HEAD~1",
        "main^",
        "main~1",
        "v1",
        "v1^{}",
        "v1~0",
        "@~",
        "HEAD@{1}",
        ":/first",
        "other@{upstream}",
        "heads/main^{commit}~1",
        "caf\udce9",
        "a b:",
    ],
)
def test_a_ref_is_what_git_makes_of_it(tmp_path: Path, ref: str) -> None:
    repo_of(tmp_path, {"Home": b"v1"})
    git(tmp_path, "commit", "--quiet", "--amend", "-m", "first")
    git(tmp_path, "tag", "-a", "-m", "one", "v1")
    git(tmp_path, "update-ref", os.fsdecode(b"refs/heads/caf\xe9"), "HEAD")
    git(tmp_path, "branch", "--quiet", "--track", "other", "main")
    git(tmp_path, "branch", "--quiet", "base")
    git(tmp_path, "config", "branch.other.merge", "refs/heads/base")
    folder_of(tmp_path, {"Home": b"v2"})
    git(tmp_path, "commit", "--quiet", "--all", "-m", "second")
    shard = GitTreeShard(tmp_path, ref)
    if ref == "a b:":
        with pytest.raises(Misuse, match="names no commit"):
            list(shard.pages())
        return
    assert [source.read() for source in shard.pages()] == [b"v1"]


@pytest.mark.parametrize(
    "ref", ["HEAD:Home.md", "HEAD^{tree}", "HEAD~7", "", "HEAD\nHEAD", "--all", "no such", "a\0b", "^HEAD", "@{u}"]
)
def test_what_names_no_commit(tmp_path: Path, ref: str) -> None:
    with pytest.raises(Misuse, match="names no commit"):
        list(GitTreeShard(repo_of(tmp_path, {"Home": b"v1"}), ref).pages())


def test_a_work_tree_has_a_head_of_its_own(tmp_path: Path) -> None:
    main = repo_of(tmp_path / "main", {"Home": b"v1"})
    git(main, "worktree", "add", "--quiet", "-b", "spare", "../spare")
    folder_of(tmp_path / "spare", {"Home": b"v2"})
    git(tmp_path / "spare", "commit", "--quiet", "--all", "-m", "second")
    read = [[source.read() for source in GitTreeShard(tmp_path / where).pages()] for where in ("main", "spare")]
    assert read == [[b"v1"], [b"v2"]]


def test_a_tag_and_an_oid_are_refs_too(tmp_path: Path) -> None:
    repo_of(tmp_path, {"Home": b"v1"})
    git(tmp_path, "tag", "--annotate", "--message=v1", "v1")
    oid = git(tmp_path, "rev-parse", "HEAD")
    (tmp_path / "Home.md").write_text("v2")
    git(tmp_path, "commit", "--quiet", "--all", "--message=again")
    assert [[source.read() for source in GitTreeShard(tmp_path, ref).pages()] for ref in ("v1", oid)] == [[b"v1"]] * 2


def test_a_folder_that_the_commit_does_not_have_is_empty(tmp_path: Path) -> None:
    shard = GitTreeShard(repo_of(tmp_path, {"Home": b""}), folder="none/here")
    assert list(shard.pages()) == []
    assert shard.find("Home") is None


@pytest.mark.parametrize("what", ["main", "main^{tree}", "main:Home.md"], ids=["commit", "tree", "page"])
def test_a_torn_object_is_one_of_our_errors(tmp_path: Path, what: str) -> None:
    shard = GitTreeShard(repo_of(tmp_path, {"Home": b"here"}), "main")
    oid = git(tmp_path, "rev-parse", what)
    path = tmp_path / ".git" / "objects" / oid[:2] / oid[2:]
    path.chmod(0o644)
    path.write_bytes(b"torn")
    with pytest.raises((Corrupt, Unavailable)):
        [source.read() for source in shard.pages()]
