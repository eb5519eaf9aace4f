"""The log of a run, in its folder: what the console shows while the run trains."""

import contextlib
import logging
import pathlib
import sys
from collections.abc import Iterator

from absl import logging as absl_logging

FILE = "log.txt"


@contextlib.contextmanager
def writing(run_dir: pathlib.Path, *, enabled: bool) -> Iterator[None]:
    """Appends the log lines of the block to the run's file, and the error that ends it.

    Args:
      enabled: Whether this process writes.

    Raises:
      OSError: If the file cannot be written.
    """
    if not enabled:
        yield
        return
    run_dir.mkdir(parents=True, exist_ok=True)
    file = _File(run_dir / FILE, encoding="utf-8")
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    file.addFilter(is_shown)
    logger = absl_logging.get_absl_logger()
    logger.addHandler(file)
    try:
        yield
    except BaseException as error:
        message = {"msg": str(error) or type(error).__name__, "levelname": "ERROR"}
        with contextlib.suppress(OSError):  # may be the same one
            file.emit(logging.makeLogRecord(message))
        raise
    finally:
        logger.removeHandler(file)
        with contextlib.suppress(OSError):
            file.close()


_OTHERS = {"orbax", "optax", "asyncio", "xla_bridge"}  # packages and modules


def is_shown(record: logging.LogRecord) -> bool:
    """Returns whether a record is from this project, or a warning from another one.

    Errors of other projects also arrive as exceptions, for which one line is printed.
    """
    is_others = not _OTHERS.isdisjoint(
        pathlib.PurePath(record.pathname).with_suffix("").parts
    )
    return not is_others or record.levelno == logging.WARNING


class _File(logging.FileHandler):
    """A log file whose errors end the run, as those of the other files do."""

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exception()
        if isinstance(error, OSError):  # that of an open file has no name
            raise OSError(error.errno, error.strerror, self.baseFilename) from error
        super().handleError(record)
