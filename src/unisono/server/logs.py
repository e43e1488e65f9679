"""The log: a line of JSON an event, never with keys or with contents of requests."""

import json
import logging
import re
import sys
import time
import traceback
from typing import Any

log = logging.getLogger("unisono.server")
_LONGEST_WORDS = 300
_SECRETS = re.compile(r"(?i)(bearer\s+|api[-_]key[.=:\s]+)\S+|(data:)[^\s'\"]{24,}")


class JsonLines(logging.Formatter):
    """Log records as JSON: time, level, logger, and what happened."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        line: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        fields = getattr(record, "fields", None)
        line |= fields if isinstance(fields, dict) else {"message": hidden(record.getMessage())}
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = fault(record.exc_info[1])
        return json.dumps(line)


def event(level: int, what: str, **fields: Any) -> None:
    """Write a line."""
    said = {"event": what, **fields}
    log.log(level, "%s", json.dumps(said), extra={"fields": said})


def fault(error: BaseException) -> dict[str, Any]:
    """What kind of error it was, and where; not its words, which may quote a request."""
    frames = traceback.extract_tb(error.__traceback__)
    return {
        "kind": type(error).__name__,
        "where": [f"{one.filename}:{one.lineno} {one.name}" for one in frames[-12:]],
    }


def hidden(words: str) -> str:
    """Words of others, short and without what looks like a key or a medium."""
    return _SECRETS.sub(lambda found: f"{found[1] or found[2]}…", words)[:_LONGEST_WORDS]


def configuration(level: str = "INFO") -> dict[str, Any]:
    """For `logging.config.dictConfig`, and uvicorn's `log_config`: everything as JSON on stderr.

    uvicorn's own lines about requests are left out: they hold queries, and ours say more.
    """
    ours = {"handlers": ["stderr"], "level": level, "propagate": False}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": JsonLines}},
        "handlers": {
            "stderr": {
                "class": "logging.StreamHandler",
                "formatter": "json",
                "stream": sys.stderr,
            }
        },
        "loggers": {
            "unisono": ours,
            "uvicorn": ours,
            "uvicorn.access": {"handlers": [], "level": "CRITICAL", "propagate": False},
        },
    }
