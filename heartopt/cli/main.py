"""The `heartopt` command: the application, its verbs and what happens to errors that nobody else caught."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from heartopt.cli import decode, deshimmer, doctor, evaluate, optimize, tokenize, train
from heartopt.cli.console import exit_code, print_error, quiet_environment, remember_command
from heartopt.cli.verb import Verb
from heartopt.errors import HeartoptError
from heartopt.version import __version__


def _dashes(token: str) -> str:
    """`--data_dir` and `--data-dir` are one flag: every token is compared in its dashed spelling."""
    return token.replace("_", "-")


app = typer.Typer(
    name="heartopt",
    help="Make, refine and judge HeartCodec music tokens.",
    epilog="Exit codes: 0 done; 1 failed; 2 wrong usage; 3 some files failed; 4 quality regression.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"token_normalize_func": _dashes, "help_option_names": ["-h", "--help"]},
)
app.command("tokenize", cls=Verb, short_help="Songs to tokens, through an encoder projection.")(tokenize.tokenize)
app.command("decode", cls=Verb, short_help="Tokens to audio, as long as the song was.")(decode.decode)
app.command("optimize", cls=Verb, short_help="Songs to refined tokens, and their sound.")(optimize.optimize)
app.command("evaluate", cls=Verb, short_help="How good tokens are: metrics, controls, reports.")(evaluate.evaluate)
app.command("train", cls=Verb, short_help="A folder of songs to an encoder projection.")(train.train)
app.command("deshimmer", cls=Verb, short_help="Audio without the ringing at 5-7 kHz.")(deshimmer.deshimmer)
app.command("doctor", cls=Verb, short_help="What could stop a training run, found before it.")(doctor.doctor)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"heartopt {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Make, refine and judge HeartCodec music tokens."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line, return its exit code; `argv` without the program's name."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    quiet_environment()
    remember_command(arguments)
    try:
        app(args=arguments, prog_name="heartopt")
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except HeartoptError as error:
        print_error(str(error))
        code = exit_code(error)
    else:
        code = 0
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # the reader left: let nothing complain when Python flushes once more at its exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = code or 1
    return code
