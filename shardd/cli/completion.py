"""`shardd completion SHELL`: the words of every command, for bash, zsh and fish to complete.

bash  shardd completion bash >~/.local/share/bash-completion/completions/shardd
zsh   shardd completion zsh >~/.zfunc/_shardd        (a folder of $fpath)
fish  shardd completion fish >~/.config/fish/completions/shardd.fish
"""

from __future__ import annotations

from dataclasses import dataclass

from shardd.commands.grammar import Grammar, Words
from shardd.commands.result import Answer, Each
from shardd.errors import Misuse

SHELLS = ("bash", "zsh", "fish")


@dataclass(frozen=True, slots=True)
class Completion:
    shell: str

    def of(self, grammar: Grammar) -> Answer[str]:
        """The script. grammar: of all but what is for a clone alone, or is served before there is a grammar"""
        import shtab  # for this alone

        from shardd.cli.setup import Setup

        if self.shell not in SHELLS:
            raise Misuse(f"there is no completion for {self.shell[:40]}", f"name one of {', '.join(SHELLS)}")
        grammar.words.command("setup", Setup, "make a clone fit for appending by hand")
        grammar.words.command("demo", Completion, "see it work, in two minutes")
        text = str(shtab.complete(grammar.parser, shell=self.shell))
        return Answer([text], Each(str.rstrip, lambda script: {"shell": self.shell, "script": script}))


def add(words: Words) -> None:
    completion = words.command("completion", Completion, f"print a script that completes words: {', '.join(SHELLS)}")
    completion.add_argument("shell", metavar="SHELL", help=f"one of {', '.join(SHELLS)}")
