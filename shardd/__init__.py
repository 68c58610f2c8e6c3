"""shardd: an append-only, totally ordered event log per space, kept in git, with one append authority at a time.

What to import is listed below, and comes in when it is first used: the command line starts without all of it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from shardd.errors import BadEvent, Corrupt, Misuse, Rejected, SharddError, Unavailable
from shardd.version import VERSION as __version__

if TYPE_CHECKING:
    from shardd.client.remote_log import RemoteLog
    from shardd.core.event import Event, Head
    from shardd.core.fold import Reducer, fold
    from shardd.core.kinds.default import DEFAULT_KINDS
    from shardd.core.kinds.kind import Kind
    from shardd.core.refusals import HeadMoved, NotHolder, StaleEpoch
    from shardd.core.state import CoordinationState
    from shardd.core.tenancy import Lease
    from shardd.logs.decision_log import DecisionLog, Draft
    from shardd.logs.git_log import GitLog
    from shardd.logs.log_transfer import export_jsonl, import_jsonl, import_log, migrate_space
    from shardd.logs.memory_log import MemoryLog
    from shardd.wiki.folder_shard import FolderShard
    from shardd.wiki.git_shard import GitTreeShard
    from shardd.wiki.shard import DictShard, Shard
    from shardd.wiki.space import InformationSpace

__all__ = [
    "DEFAULT_KINDS",
    "BadEvent",
    "CoordinationState",
    "Corrupt",
    "DecisionLog",
    "DictShard",
    "Draft",
    "Event",
    "FolderShard",
    "GitLog",
    "GitTreeShard",
    "Head",
    "HeadMoved",
    "InformationSpace",
    "Kind",
    "Lease",
    "MemoryLog",
    "Misuse",
    "NotHolder",
    "Reducer",
    "Rejected",
    "RemoteLog",
    "Shard",
    "SharddError",
    "StaleEpoch",
    "Unavailable",
    "__version__",
    "export_jsonl",
    "fold",
    "import_jsonl",
    "import_log",
    "migrate_space",
]

_HOMES = {
    "CoordinationState": "core.state",
    "DEFAULT_KINDS": "core.kinds.default",
    "DecisionLog": "logs.decision_log",
    "DictShard": "wiki.shard",
    "Draft": "logs.decision_log",
    "Event": "core.event",
    "FolderShard": "wiki.folder_shard",
    "GitLog": "logs.git_log",
    "GitTreeShard": "wiki.git_shard",
    "Head": "core.event",
    "HeadMoved": "core.refusals",
    "InformationSpace": "wiki.space",
    "Kind": "core.kinds.kind",
    "Lease": "core.tenancy",
    "MemoryLog": "logs.memory_log",
    "NotHolder": "core.refusals",
    "Reducer": "core.fold",
    "RemoteLog": "client.remote_log",
    "Shard": "wiki.shard",
    "StaleEpoch": "core.refusals",
    "export_jsonl": "logs.log_transfer",
    "fold": "core.fold",
    "import_jsonl": "logs.log_transfer",
    "import_log": "logs.log_transfer",
    "migrate_space": "logs.log_transfer",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'shardd' has no attribute {name!r}")
    return getattr(import_module(f"shardd.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
