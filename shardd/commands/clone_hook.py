"""`hook commit-msg`: the hook that a clone may use, for whoever has git and ssh but not shardd."""

from __future__ import annotations

from dataclasses import dataclass

from shardd.commands.caller import Context
from shardd.commands.grammar import Words
from shardd.commands.result import Answer, Each
from shardd.files import hook_install


@dataclass(frozen=True, slots=True)
class Hook:
    name: str

    def run(self, context: Context) -> Answer[str]:
        text = hook_install.script(self.name).decode()
        return Answer([text], Each(str.rstrip, lambda script: {"name": self.name, "script": script}))


def add(words: Words) -> None:
    hook = words.command("hook", Hook, "print a hook for clones: `ssh HOST hook commit-msg >.git/hooks/commit-msg`")
    hook.add_argument("name", metavar="NAME", choices=["commit-msg"], help="commit-msg")
