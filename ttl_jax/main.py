"""Trains one stage, or the stages of a pipeline in order.

Example:

  python -m ttl_jax.main --config=configs/recog.py
  python -m ttl_jax.main --config=configs/pipeline.py:tiny --config.seed=1

The same command goes on where a run stopped.
"""

import sys
from logging import INFO

from absl import app, flags, logging
from ml_collections import config_flags

_CONFIG = config_flags.DEFINE_config_file(
    "config",
    help_string="What to train: a file of configs/, with a preset after a colon "
    "(configs/recog.py:small). --config.FIELD=VALUE changes any field.",
)
_WORKDIR = flags.DEFINE_string(
    "workdir", "runs", "Folder of all runs; each stage has a subfolder."
)


def main(arguments: list[str]) -> None:
    """Trains what the flags name; a mistake of the user's ends it with one line."""
    if len(arguments) > 1:
        raise app.UsageError(f"Unknown arguments {arguments[1:]}; flags begin with --.")
    if _CONFIG.value is None:
        raise app.UsageError("Name what to train, e.g. --config=configs/pipeline.py")
    # Imported once the flags are read: --help is quick.
    from ttl_jax.training import loop

    try:
        stages = _stages_of(_CONFIG.value)
        for config in stages[1:]:  # the first is checked when it starts
            loop.check(config)
        for config in stages:
            evaluation = loop.train(config, _WORKDIR.value)
            shown = "  ".join(f"{k} {v:.4g}" for k, v in evaluation.items())
            logging.info("%s: %s", config.stage, shown or "no evaluation sets")
    except (ValueError, FloatingPointError) as error:
        logging.debug("Where it happened:", exc_info=True)
        sys.exit(f"ttl_jax.main: {error}")
    except OSError as error:  # ml_collections tells of a missing config in four lines
        sys.exit(f"ttl_jax.main: {' '.join(str(error).split())}")


def _stages_of(config) -> list:
    """The configs to train, in order.

    Raises:
      ValueError: If a stage of a pipeline has a run of its own name: the later stages
        would look for it under the usual one.
    """
    if "stages" not in config:
        return [config]
    for name in config.stages:
        if config[name].run:
            raise ValueError(
                f"config.{name}.run={config[name].run!r}: the runs of a pipeline keep "
                "their names. Give it another --workdir, or train the stage alone."
            )
    return [config[name] for name in config.stages]


def _parse_flags(arguments: list[str]) -> list[str]:
    """Parses flags; a mistyped config field ends it with one line, the near name in it."""
    try:
        return flags.FLAGS(arguments)
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
    """Whether a log line is of this project, or a warning of another's."""
    return "orbax" not in record.pathname or record.levelno > INFO


if __name__ == "__main__":
    logging.set_verbosity(logging.INFO)
    logging.get_absl_handler().addFilter(_is_ours)
    app.run(main, flags_parser=_parse_flags)
