"""`bitwright`: the command that the verbs join, and what becomes of errors.

An error of the input is one sentence on stderr and exit code 2, any other of bitwright's one sentence and 1, Ctrl-C a
short line and 130, SIGTERM one and 143; what nobody foresaw is `bitwright.cli.failures`'. Nothing heavy is imported
before a command runs.
"""

import contextlib
import errno
import os
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from bitwright.cli.failures import FAILURE, FAILURES, LONGEST, is_out_of_memory
from bitwright.cli.interrupts import INTERRUPTS
from bitwright.cli.telling import tell
from bitwright.errors import BitwrightError, InputError
from bitwright.redaction import redacted, secrets_in
from bitwright.shown import printable

USAGE = 2
WrongUsage: type[Exception] = typer.BadParameter.__bases__[0]  # of click, or of typer's own copy of it
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO)  # EIO: a terminal that is gone


class Commands(TyperGroup):
    """A group of commands whose errors become sentences and exit codes."""

    def make_context(self, *args: Any, **extra: Any) -> Any:
        """Read the options before the command."""
        with _printable():
            return super().make_context(*args, **extra)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command, and look at its words as a whole."""
        found = super().resolve_command(ctx, args)
        _, command, words = found
        if command is not None and not ctx.resilient_parsing:
            _refuse_repetitions(command.context_class(command, parent=ctx), command, words)
        return found

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        INTERRUPTS.forget()
        try:
            with _printable():
                result = super().invoke(ctx)
            if sys.stdout is not None:  # it was closed before the program began
                sys.stdout.flush()  # here a full disk is noticed as an error of the command
            return result
        except BitwrightError as error:
            FAILURES.shown(error)
            stop(str(error), USAGE if isinstance(error, InputError) else FAILURE)
        except OSError as error:
            _stop_by_system(error)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            FAILURES.shown(error)
            stop("there is not enough memory for this; take smaller sizes, or fewer samples at once", FAILURE)
        except KeyboardInterrupt as error:
            if INTERRUPTS.came:
                stop_interrupted(INTERRUPTS.written)
            FAILURES.shown(error)
            stop(f"code that was given raised KeyboardInterrupt, and nobody interrupted; {INTERRUPTS.written}", USAGE)
        except SystemExit as error:  # bitwright's own ends are typer's: this is a network's, a loader's or a metric's
            FAILURES.shown(error)
            stop(f"code that was given ended the program (exit code {error.code}); {INTERRUPTS.written}", USAGE)


def _refuse_repetitions(ctx: Any, command: Any, words: list[str]) -> None:
    """Refuse an option that takes one value and is given several, of which the last alone would count."""
    try:
        order = command.make_parser(ctx).parse_args(args=list(words))[2]
    except WrongUsage:  # which is told when the command reads its words
        return
    for param, count in Counter(order).items():
        one = param.param_type_name == "option" and not (param.multiple or param.is_flag or param.count)
        if one and count > 1:
            raise InputError(
                f"{max(param.opts, key=len)} is given {count} times and takes one value; give it once, with commas "
                "between names where it takes several"
            )


@contextlib.contextmanager
def _printable() -> Iterator[None]:
    """What is wrong with the words of the command line, in which names of files may stand, can be printed."""
    try:
        yield
    except WrongUsage as error:
        error.args = tuple(_shown(each) if isinstance(each, str) else each for each in error.args)
        error.message = _shown(error.message)  # type: ignore[attr-defined]
        raise


def _shown(words: str) -> str:
    return printable(redacted(words, secrets_in(sys.argv)))


def _stop_by_system(error: OSError) -> NoReturn:
    """The end where a result has no place or a file is refused; what is of neither goes on up."""
    if error.errno in FULL:
        _drop_stdout()
        stop(f"the result could not be written: {error.strerror}", FAILURE)
    if not isinstance(error.filename, str | bytes):
        raise error
    FAILURES.shown(error)
    stop(f"{os.fsdecode(error.filename)[:LONGEST]}: {error.strerror}; give another path", USAGE)


def _drop_stdout() -> None:
    """What could not be written is not tried again when the program ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def stop(message: str, code: int) -> NoReturn:
    """One line on stderr, in which names from files are printable, then the end."""
    tell(f"bitwright: {' '.join(message.split())}")
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
    show_version: Annotated[  # noqa: ARG001 (its callback has done it)
        bool, typer.Option("--version", callback=version, is_eager=True, help="Print the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors, for reports.")] = False,
) -> None:
    """What all commands share."""
    FAILURES.debug = debug
