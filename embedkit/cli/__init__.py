"""The command line. Heavy imports stand inside the commands, so that `--help` answers at once."""

import sys

import typer

from embedkit.cli import evaluate, search  # noqa: F401  # importing them adds their commands
from embedkit.cli.app import app
from embedkit.console import clean
from embedkit.errors import EmbedkitError

__all__ = ["app", "main"]


def main() -> None:
    """Run the command line; an `EmbedkitError` becomes one line on stderr and exit code 1."""
    try:
        app()
    except EmbedkitError as error:
        typer.echo(f"error: {clean(str(error))}", err=True)
        sys.exit(1)
