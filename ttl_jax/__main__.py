"""Runs any command: `ttl-jax COMMAND`, `python -m ttl_jax COMMAND`.

`ttl-jax COMMAND --help` describes a command. `python -m ttl_jax.COMMAND` runs it too.
"""

import runpy
import sys

from ttl_jax import __version__, suggestions

COMMANDS = {
    "derain": "remove rain from photographs and videos",
    "main": "train one stage, all four, or an ablation",
    "evaluate": "score restored photographs",
    "prepare": "convert sets of images to records; find duplicates",
    "analyze": "compare the rain of sets of photographs",
    "sheet": "make comparison sheets",
    "pack": "write the weights of a run to one file",
    "export": "write the weights of a run as ONNX or StableHLO",
    "benchmark": "measure speed",
    "serve": "serve a page that removes rain",
    "study": "run a study in which people rank the results of several methods",
}


def main() -> None:
    """Runs the command named by the first argument, with the other arguments."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help"):
        lines = (f"  {name:<10} {what}" for name, what in COMMANDS.items())
        print("usage: ttl-jax COMMAND [ARGUMENTS]\n\ncommands:", *lines, sep="\n")
        sys.exit(0 if arguments else 2)
    command = arguments[0]
    if command == "--version":
        print(f"ttl-jax {__version__}")
    elif command in COMMANDS:
        sys.argv = sys.argv[1:]
        runpy.run_module(f"ttl_jax.{command}", run_name="__main__", alter_sys=True)
    else:
        known = suggestions.known_and_hint(command, COMMANDS)
        sys.exit(f"ttl-jax: unknown command {command!r}; choose from {known}")


if __name__ == "__main__":
    main()
