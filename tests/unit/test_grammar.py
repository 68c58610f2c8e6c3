"""The one grammar: built once, whoever asks, and asked by everybody who must know something about words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from shardd.cli.main import main
from shardd.cli.over_ssh import with_space
from shardd.client.address import Remote
from shardd.commands.all_commands import server_grammar
from shardd.commands.git_request import wants_json
from shardd.commands.grammar import HelpAsked, asks_json
from shardd.errors import Misuse

WIDTH = 80

HERE = Remote("host", None, "garden", "whynot")


def test_it_is_made_once_and_each_reader_is_told_by_what_he_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    grammar = server_grammar()
    assert server_grammar() is grammar
    with pytest.raises(HelpAsked) as asked:
        grammar.parse(["help", "append"])
    with pytest.raises(Misuse) as below:
        grammar.parse(["lease", "renew"])
    with pytest.raises(Misuse) as above:
        grammar.parse(["frob"])
    for reach in ("shardd", "ssh -p 2222 git@wiki.example.org"):
        text = asked.value.seen_from(reach)
        assert text.startswith(f"usage: {reach} append [-h]")
        assert max(map(len, text.split("\n"))) <= WIDTH
        assert f"see `{reach} lease renew --help`" in below.value.seen_from(reach)
        assert above.value.seen_from(reach) == f"see `{reach} help`"


def test_words_too_many_are_named_with_the_command_that_takes_them_and_how_to_quote() -> None:
    """Whoever writes `ssh host append a/b note "moving day"` sends two words."""
    with pytest.raises(Misuse, match="unrecognized arguments: day") as words:
        server_grammar().parse(["append", "a/b", "note", "moving", "day"])
    assert (
        words.value.remedy == """see `shardd append --help`; over ssh quote twice what holds spaces: "'two words'\""""
    )
    with pytest.raises(Misuse, match="--reason") as option:
        server_grammar().parse(["lease", "release", "a/b", "--reason=x"])
    assert option.value.remedy == "see `shardd lease release --help`"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("lease acquire --help", "usage: shardd lease acquire [-h]"),
        ("log -h", "usage: shardd log [-h]"),
        ("lease -h", "usage: shardd lease [-h]"),
        ("frob", "see `shardd help`"),
        ("lease frob", "see `shardd lease --help`"),
        ("lease show", "which server?"),
    ],
)
def test_help_and_slips_need_no_server(
    words: str, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SHARDD_DIR", raising=False)
    main(words.split())
    assert said in "".join(capsys.readouterr())


def test_a_number_that_is_none_is_told_how_to_write_it() -> None:
    for words in ("lease acquire a/b --ttl soon", "lease renew a/b --epoch last"):
        with pytest.raises(Misuse) as refused:
            server_grammar().parse(words.split())
        assert refused.value.remedy.startswith("write it like")


@pytest.mark.parametrize(
    ("words", "sent"),
    [
        ("lease show", "lease show garden/whynot"),
        ("lease show two", "lease show garden/two"),
        ("lease show other/two", "lease show other/two"),
        ("lease acquire --ttl 60 --fenced --json", "lease acquire --ttl 60 --fenced --json garden/whynot"),
        ("lease acquire --ttl=60 two", "lease acquire --ttl=60 garden/two"),
        ("lease acquire --fenced two --ttl 5", "lease acquire --fenced garden/two --ttl 5"),
        ("lease acquire -- two", "lease acquire -- garden/two"),
        ("lease transfer --ttl 5 bob", "lease transfer --ttl 5 garden/whynot bob"),
        ("lease transfer other/two bob", "lease transfer other/two bob"),
        ("lease list", "lease list"),
        ("append note Home --body {}", "append garden/whynot note Home --body {}"),
        ("append --lines --atomic", "append --lines --atomic garden/whynot"),
        ("append --expected absent --epoch 3 note", "append --expected absent --epoch 3 garden/whynot note"),
        ("append -- note", "append -- garden/whynot note"),
        ("space freeze moved", "space freeze garden/whynot moved"),
        ("space create two", "space create garden/two"),
        ("space create", "space create"),  # the one that we stand in is there
        ("verify", "verify"),  # every one
        ("whoami", "whoami"),
        ("append --help", "append --help"),
        ("append --from-the-future x", "append --from-the-future x"),  # the server may be newer
        ("lease acquire --ttl", "lease acquire --ttl"),
        ("append other/two note", "append other/two note"),
        ("space freeze other/two", "space freeze other/two"),  # and not garden/whynot, with that for a message
        ("diff other/two 1 2", "diff other/two 1 2"),
        ("export other/two", "export other/two"),
        ("lease", "lease"),
        ("from the future", "from the future"),
    ],
)
def test_it_knows_where_the_space_stands(words: str, sent: str) -> None:
    assert with_space(words.split(), HERE) == sent.split()
    assert with_space(words.split(), replace(HERE, repo=None)) == words.split()


def test_which_space_is_asked_where_nothing_says_it() -> None:
    nowhere = replace(HERE, space=None)
    with pytest.raises(Misuse, match="which space"):
        with_space(["lease", "show"], nowhere)
    for words in ("diff other/two 1 2", "export other/two", "lease grant garden/two bob", "verify"):
        assert with_space(words.split(), nowhere) == words.split()


def test_options_end_where_a_double_dash_stands() -> None:
    assert asks_json(["log", "a/b", "--json"])
    assert not asks_json(["space", "freeze", "a/b", "--", "--json"])
    assert not asks_json(["log", "--json=yes"])
    assert wants_json("log a/b --json 'not closed")
    assert not wants_json("space freeze a/b -- --json")
