"""Trains one stage, the stages of a pipeline in order, or the rows of an ablation.

Example:

  python -m ttl_jax.main --config=configs/recog.py
  python -m ttl_jax.main --config=configs/pipeline.py:tiny --config.seed=1
  python -m ttl_jax.main --config=configs/ablation.py --workdir=runs/ablation

The same command resumes a run that stopped. On SIGTERM or Ctrl-C the run is saved after
the current step. A second signal ends it at once. So does a signal before the first
step.

Exit status: 0 if everything is trained; 1 after an error, which the last line explains; 143
after SIGTERM; 130 after Ctrl-C.

Several processes, one per GPU or one per machine, train together if srun starts them, or
if each one gets the address of the first (launch/ has scripts):

  python -m ttl_jax.main --config=configs/recog.py --coordinator=node1:1234 \\
      --num_processes=2 --process_id=0
"""

import contextlib
import sys
from collections.abc import Iterator

from absl import app, flags, logging
from ml_collections import config_flags

from ttl_jax import allocator, config_files, stopping
from ttl_jax.training import run_log

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
    "If the last checkpoint of a run is damaged, resume from the one before it.",
)
_COORDINATOR = flags.DEFINE_string(
    "coordinator", None, "Several processes: HOST:PORT where process 0 listens."
)
_NUM_PROCESSES = flags.DEFINE_integer(
    "num_processes", None, "Several processes: their number."
)
_PROCESS_ID = flags.DEFINE_integer(
    "process_id", None, "Several processes: number of this one, from 0."
)


def main(arguments: list[str]) -> int:
    """Trains what the flags name; returns the exit status."""
    if len(arguments) > 1:
        raise app.UsageError(f"Unknown arguments {arguments[1:]}; flags begin with --.")
    if _CONFIG.value is None:
        raise app.UsageError("Name what to train, e.g. --config=configs/pipeline.py")
    with stopping.EndAtOnce() as ending:  # until the loop has something to save
        return _train(ending)


def _train(ending: stopping.EndAtOnce) -> int:
    # Imported after the flags are parsed, so that --help is quick.
    from ttl_jax import compilation_cache
    from ttl_jax.training import failures, runs, sharding

    processes = _COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value
    with failures.failing_together(), _one_line_errors():
        sharding.initialize_distributed(*processes)
        ending.before = failures.report_end
        compilation_cache.enable()
        failures.watch_others()
        if not sharding.is_writer():
            logging.set_verbosity(logging.WARNING)
        try:
            runs.train(_CONFIG.value, _WORKDIR.value, fallback=_FALLBACK.value)
        except stopping.Stopped as stopped:
            if sharding.is_writer():
                print(f"ttl_jax.main: {stopped}", file=sys.stderr)
            return stopped.exit_status
    return 0


@contextlib.contextmanager
def _one_line_errors() -> Iterator[None]:
    """Ends the program with one line for a user's mistake or too little device memory."""
    try:
        yield
    except (ValueError, FloatingPointError, OSError) as error:
        logging.debug("Where it happened:", exc_info=True)
        sys.exit(f"ttl_jax.main: {error}")
    except RuntimeError as error:  # JAX's errors are of this type
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        logging.debug("Where it happened:", exc_info=True)
        sys.exit(
            f"ttl_jax.main: {str(error).splitlines()[0]} Use a smaller config.crop_size or "
            "config.batch_size, more config.num_micro_batches, or "
            "config.encoder.remat=True, which may also change when a run resumes."
        )


def _parse_flags(arguments: list[str]) -> list[str]:
    """Returns the remaining arguments; an invalid flag ends the program with one line."""
    try:
        arguments = config_files.resolve_flag(arguments)
        try:
            return flags.FLAGS(arguments)
        except (AttributeError, KeyError):
            message = config_files.explain_unknown_field(arguments)
            if message is None:
                raise
        except IndexError:
            flag = next(one for one in arguments if "[" in one).partition("[")[0]
            message = (
                f"{flag} is a tuple, which is set as a whole: {flag}=\"('a','b')\""
            )
    except (ValueError, OSError) as error:
        message = " ".join(str(error).split())  # ml_collections needs several lines
    except flags.Error as error:
        # The config file raised, for example for an unknown preset; the message contains
        # the traceback.
        message = str(error).strip().splitlines()[-1]
    sys.exit(f"ttl_jax.main: {message}")


if __name__ == "__main__":
    allocator.use_huge_pages()
    logging.set_verbosity(logging.INFO)
    logging.get_absl_handler().addFilter(run_log.is_shown)
    app.run(main, flags_parser=_parse_flags)
