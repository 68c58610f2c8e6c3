"""Every command that a server answers, over ssh and on its host."""

from __future__ import annotations

from typing import cast

from shardd.commands import (
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
from shardd.commands.caller import Command, Context, Waiting
from shardd.commands.grammar import Parser, Words, new_parser
from shardd.commands.result import Steps


def server_grammar(prog: str) -> Parser:
    """The grammar of `ssh host …`. prog: how the caller calls us, for usage messages."""
    parser = new_parser(prog, "Ask the shardd server.")
    add_all(Words(parser))
    return parser


def run_on(context: Context, command: object) -> Steps:
    """Run what `server_grammar` made; see Waiting."""
    if isinstance(command, Waiting):
        return (yield from command.steps(context))
    return cast("Command", command).run(context)


def add_all(words: Words) -> None:
    for module in (
        repos,
        keys,
        grants,
        principals,
        leases,
        events,
        folds,
        import_export,
        verify_logs,
        clone_hook,
        audit,
    ):
        module.add(words)
