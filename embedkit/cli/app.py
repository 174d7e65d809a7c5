"""The application that every command joins, and the options that many share."""

from typing import Annotated

import typer

app = typer.Typer(
    name="embedkit",
    help="Vectors from anything: index files, search them, keep the index in step.",
    epilog="Exit codes: 0 done, 1 a clear error, 2 wrong usage, 130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

AsJson = Annotated[bool, typer.Option("--json", envvar="EMBEDKIT_JSON", help="Print JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", envvar="EMBEDKIT_QUIET", help="Print errors only.")]
