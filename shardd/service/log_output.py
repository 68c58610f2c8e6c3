"""How the daemon's log looks: a line for people or an object of JSON for each thing that it says, on standard error."""

from __future__ import annotations

import logging
import sys
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from shardd.core.hook_protocol import printable
from shardd.files.settings import LogStyle


def configure(style: LogStyle, stream: TextIO | None = None) -> None:
    """From now on, in this process. What is said through `logging`, by us and by libraries, looks the same."""
    to = stream or sys.stderr
    common: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if style == "json":
        last += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        plain = structlog.dev.plain_traceback
        last += [_printable, structlog.dev.ConsoleRenderer(colors=to.isatty(), exception_formatter=plain)]
    handler = logging.StreamHandler(to)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=common, processors=last))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    logging.getLogger("asyncssh").setLevel(logging.WARNING)
    structlog.configure(
        processors=[*common, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )


def _printable(logger: WrappedLogger, method: str, said: EventDict) -> EventDict:
    """A line stays one, and shows no control characters, whatever somebody called a ref."""
    return {name: printable(value) if isinstance(value, str) else value for name, value in said.items()}
