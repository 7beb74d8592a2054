"""The frame of every script: its log, and how it ends when something is wrong."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from repalign.errors import RepalignError


@contextmanager
def job(log: str | Path) -> Iterator[None]:
    """Logs to `log` while the block runs; a RepalignError ends the process with one line and exit code 1."""
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(
        filename=log, filemode="w", level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", force=True
    )
    logging.captureWarnings(True)
    logging.getLogger("fontTools").setLevel(logging.WARNING)  # tells of every font table it writes
    try:
        yield
    except RepalignError as error:
        logging.error(error)
        print(f"repalign: error: {error}", file=sys.stderr)
        sys.exit(1)
    except Exception:
        logging.exception("unexpected error")
        raise
