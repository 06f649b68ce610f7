"""The command line of an example: each command is a function, its options are the function's parameters."""

import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import jax
import tyro
from tyro.conf import OmitArgPrefixes, Positional, arg

from . import options, processes
from .stop import Stopped

Checkpoint = Annotated[Positional[Path], arg(metavar="CHECKPOINT")]
"""The folder of a run, or of one step of it."""
Folder = Annotated[Path | None, arg(metavar="DIR")]

_STYLE = (OmitArgPrefixes,)


def run(
    commands: Mapping[str, Callable[..., None]], program: str, arguments: Sequence[str] | None = None
) -> int:
    """Runs one command and returns the exit code.

    That is 2 for what the user can mend, which is said in one line, and 128 and the number of the signal for
    what a signal stopped. Every command takes `--config FILE.yaml` with further options.

    Args:
        commands: by name.
        program: what the user typed before the command, for help.
        arguments: of the command line; those of this process if there are none.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    logging.basicConfig(level=logging.WARNING, format="warning: %(message)s")
    logging.getLogger("absl").setLevel(logging.CRITICAL)  # Orbax says there what it also raises
    try:
        if arguments in (["-h"], ["--help"]):
            _help(commands, program)
            return 0
        if arguments and arguments[0] in commands:
            arguments[1:] = options.expand(commands[arguments[0]], arguments[1:])
        tyro.extras.subcommand_cli_from_dict(dict(commands), args=arguments, prog=program, config=_STYLE)
    except BrokenPipeError:
        # The reader, such as `head`, has seen enough; Python's documentation has the remedy.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return processes.leave(2)
    except jax.errors.JaxRuntimeError as error:
        if not jax.distributed.is_initialized():
            raise
        reason = str(error).partition("\n")[0][:200]
        print(f"error: another process is gone ({reason}): start all of them again", file=sys.stderr)
        return processes.leave(1)
    except Stopped as stop:
        print(stop, file=sys.stderr)
        return 128 + stop.signal_number
    except KeyboardInterrupt:
        print("stopped; the same command goes on from the last checkpoint", file=sys.stderr)
        return processes.leave(130)
    return 0


def _help(commands: Mapping[str, Callable[..., None]], program: str) -> None:
    """Every command's options, so that one page shows all there is."""
    print(f"usage: {program} {{{','.join(commands)}}} [options]\n")
    print("Options can also come from a file, --config FILE.yaml, with a line NAME: VALUE for each.\n")
    for name, command in commands.items():
        try:
            tyro.cli(command, args=["--help"], prog=f"{program} {name}", config=_STYLE)
        except SystemExit:  # which is how help ends
            print()
