"""Trains one stage, the stages of a pipeline in order, or the rows of an ablation.

Example:

  python -m ttl_jax.main --config=configs/recog.py
  python -m ttl_jax.main --config=configs/pipeline.py:tiny --config.seed=1
  python -m ttl_jax.main --config=configs/ablation.py --workdir=runs/ablation

The same command goes on where a run stopped. On SIGTERM or Ctrl-C a run is saved after
the step at work; a second signal ends it at once.

Exit status: 0, everything is trained; 1, a mistake or a value that is not finite, as the
last line tells; 143, SIGTERM, and 130, Ctrl-C: the same command goes on.

Several processes, one per GPU or one per machine, train together where srun starts them,
or where each is told of the others (launch/ has scripts):

  python -m ttl_jax.main --config=configs/recog.py --coordinator=node1:1234 \\
      --num_processes=2 --process_id=0
"""

import contextlib
import sys
from collections.abc import Iterator
from logging import WARNING

from absl import app, flags, logging
from ml_collections import config_flags

from ttl_jax import allocator, config_files

_CONFIG = config_flags.DEFINE_config_file(
    "config",
    help_string="What to train: a file of configs/, with a preset after a colon "
    "(configs/recog.py:small). --config.FIELD=VALUE changes any field.",
)
_WORKDIR = flags.DEFINE_string(
    "workdir", "runs", "Folder of all runs; each stage has a subfolder."
)
_FALLBACK = flags.DEFINE_bool(
    "fallback",
    False,
    "Where the last checkpoint of a run is damaged, go on from the one before it.",
)
_COORDINATOR = flags.DEFINE_string(
    "coordinator", None, "Of several processes: HOST:PORT where process 0 listens."
)
_NUM_PROCESSES = flags.DEFINE_integer(
    "num_processes", None, "Of several processes: how many there are."
)
_PROCESS_ID = flags.DEFINE_integer(
    "process_id", None, "Of several processes: which one this is, from 0."
)


def main(arguments: list[str]) -> int:
    """Trains what the flags name; returns the exit status."""
    if len(arguments) > 1:
        raise app.UsageError(f"Unknown arguments {arguments[1:]}; flags begin with --.")
    if _CONFIG.value is None:
        raise app.UsageError("Name what to train, e.g. --config=configs/pipeline.py")
    # Imported once the flags are read: --help is quick.
    from ttl_jax import compilation_cache
    from ttl_jax.training import failures, sharding

    processes = _COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value
    with failures.failing_together(), _telling_mistakes():
        sharding.initialize_distributed(*processes)
        compilation_cache.enable()
        failures.watch_others()
        if not sharding.is_writer():
            logging.set_verbosity(logging.WARNING)
        return _train(_CONFIG.value, _WORKDIR.value, falls_back=_FALLBACK.value)


def _train(config, workdir: str, *, falls_back: bool) -> int:
    """Trains the runs of a config in order; returns the exit status."""
    from ttl_jax.training import loop, runs, sharding, stopping

    configs = runs.list_runs(config)
    if falls_back:
        for run_config in configs:
            loop.fall_back(run_config, workdir)
    if len(configs) > 1:  # one alone is checked when it starts
        for run_config in configs:
            loop.check(run_config, workdir)
    runs.write_index(config, workdir)
    for run_config in configs:
        try:
            evaluation = loop.train(run_config, workdir)
        except stopping.Stopped as stopped:
            if sharding.is_writer():
                print(f"ttl_jax.main: {stopped}", file=sys.stderr)
            return stopped.exit_status
        shown = "  ".join(f"{k} {v:.4g}" for k, v in evaluation.items())
        name = loop.directory_of(run_config, workdir).name
        logging.info("%s: %s", name, shown or "no evaluation sets")
    return 0


@contextlib.contextmanager
def _telling_mistakes() -> Iterator[None]:
    """Ends the program with one line for a mistake of the user's, and on Ctrl-C."""
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(130)
    except (ValueError, FloatingPointError) as error:
        logging.debug("Where it happened:", exc_info=True)
        sys.exit(f"ttl_jax.main: {error}")
    except OSError as error:  # ml_collections tells of a missing config in four lines
        sys.exit(f"ttl_jax.main: {' '.join(str(error).split())}")


def _parse_flags(arguments: list[str]) -> list[str]:
    """Parses flags; a mistyped config field ends it with one line, the near name in it."""
    try:
        return flags.FLAGS(config_files.resolve_flag(arguments))
    except ValueError as error:
        sys.exit(f"ttl_jax.main: {error}")
    except flags.Error as error:
        # A config that raises, as for an unknown preset: its traceback is in the message.
        sys.exit(f"ttl_jax.main: {str(error).strip().splitlines()[-1]}")
    except AttributeError as error:
        # ml_collections wraps the message, the near name in it, once or twice.
        while isinstance(error.args[0], Exception):
            error = error.args[0]
        sys.exit(f"ttl_jax.main: no such field: {' '.join(error.args[0].split())}")
    except OSError as error:
        sys.exit(f"ttl_jax.main: no such config file: {' '.join(str(error).split())}")


def _is_ours(record) -> bool:
    """Whether a log line is of this project, or a warning of another's.

    Their errors come as exceptions too, which we tell in one line.
    """
    is_others = "orbax" in record.pathname or "asyncio" in record.pathname
    return not is_others or record.levelno == WARNING


if __name__ == "__main__":
    allocator.use_huge_pages()
    logging.set_verbosity(logging.INFO)
    logging.get_absl_handler().addFilter(_is_ours)
    app.run(main, flags_parser=_parse_flags)
