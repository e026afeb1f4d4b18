"""`bitwright`: the command that the verbs join, and what becomes of errors.

An error of the input is one sentence on stderr and exit code 2, any other of bitwright's one sentence and 1, Ctrl-C a
short line and 130, SIGTERM one and 143. Nothing heavy is imported before a command runs.
"""

import errno
import os
import sys
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from bitwright.cli.interrupts import INTERRUPTS
from bitwright.errors import BitwrightError, InputError

USAGE, FAILURE = 2, 1
FULL = (errno.ENOSPC, errno.EDQUOT)


class Commands(TyperGroup):
    """A group of commands whose errors become sentences and exit codes."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()  # here a full disk is noticed as an error of the command
            return result
        except InputError as error:
            stop(str(error), USAGE)
        except BitwrightError as error:
            stop(str(error), FAILURE)
        except OSError as error:
            if error.errno not in FULL:
                raise
            _drop_stdout()
            stop(f"the result could not be written: {error.strerror}", FAILURE)
        except KeyboardInterrupt:
            stop_interrupted("nothing was written")
        except SystemExit as error:  # bitwright's own ends are typer's: this is a network's, a loader's or a metric's
            stop(f"code that was given ended the program (exit code {error.code}); nothing was written", USAGE)


def _drop_stdout() -> None:
    """What could not be written is not tried again when the program ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def stop(message: str, code: int) -> NoReturn:
    """One line on stderr, in which names from files are printable, then the end."""
    line = "".join(each if each.isprintable() else repr(each)[1:-1] for each in " ".join(message.split()))
    sys.stderr.write(f"bitwright: {line}\n")
    raise typer.Exit(code)


def stop_interrupted(what: str) -> NoReturn:
    """The end after Ctrl-C or SIGTERM; `what` says what was kept."""
    stop(f"{INTERRUPTS.word}; {what}", INTERRUPTS.code)


app = typer.Typer(
    cls=Commands,
    help="Quantize real networks, execute them bit-exactly, and cost the same integers on models of accelerators.",
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def version(value: bool) -> None:
    """Print the version and stop."""
    if value:
        import bitwright

        typer.echo(f"bitwright {bitwright.__version__}")
        raise typer.Exit


@app.callback()
def common(
    show_version: Annotated[
        bool, typer.Option("--version", callback=version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """What all commands share."""
