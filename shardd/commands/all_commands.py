"""Every command that a server answers, over ssh and on its host.

A new command is a frozen dataclass with `run` (or `converse`, see Duplex) in a module of this folder, and the words for
it in that module's `add`; a new module stands in the list below.
"""

from __future__ import annotations

from functools import cache
from typing import cast

from shardd.commands import (
    appends,
    audit,
    clone_hook,
    events,
    folds,
    grants,
    import_export,
    keys,
    leases,
    principals,
    repos,
    verify_logs,
)
from shardd.commands.caller import Command, Context, Duplex, Waiting
from shardd.commands.grammar import Grammar, Parser, Words
from shardd.commands.result import Steps


@cache
def server_grammar(parser: type[Parser] = Parser) -> Grammar:
    """The grammar of `ssh host …`, made once."""
    grammar = Grammar("Ask the shardd server.", parser)
    add_all(grammar.words)
    return grammar


def run_on(context: Context, command: object) -> Steps:
    """Run what `server_grammar` made; see Waiting and Duplex."""
    if isinstance(command, Waiting):
        return (yield from command.steps(context))
    if isinstance(command, Duplex):
        stream = context.opened("-")
        return command.converse(context, stream).of(stream)
    return cast("Command", command).run(context)


def add_all(words: Words) -> None:
    for module in (
        repos,
        keys,
        grants,
        principals,
        leases,
        events,
        appends,
        folds,
        import_export,
        verify_logs,
        clone_hook,
        audit,
    ):
        module.add(words)
