"""torch and fork: a process that has computed must not be forked and compute again."""

import os

from embedkit.errors import ForkedProcessError

_computed_in: int | None = None


def refuse_fork() -> None:
    """Note that this process computes; refuse when it was forked from one that had.

    torch's threads do not survive a fork, and the child would wait for them forever.

    Raises:
        ForkedProcessError: A parent process has computed before it was forked into this one.
    """
    global _computed_in  # noqa: PLW0603 (what it notes is a fact of the process)
    if _computed_in is None:
        _computed_in = os.getpid()
    if _computed_in != os.getpid():
        message = (
            "an encoder was used before this process was forked, and torch would hang here: "
            "start workers with multiprocessing.get_context('spawn')"
        )
        raise ForkedProcessError(message)
