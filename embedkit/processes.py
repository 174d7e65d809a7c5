"""Work that several processes share."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from sklearn.utils.parallel import Parallel, delayed

from embedkit.errors import InputError

_Result = TypeVar("_Result")


def in_processes(call: Callable[..., _Result], jobs: Iterable[tuple[Any, ...]], n_jobs: int) -> Iterator[_Result]:
    """What a call makes of the arguments of each job, in their order, as they become ready.

    Args:
        call: Of a module, so that other processes can import it; with 1 it is called here.
        jobs: Arguments of each.
        n_jobs: How many processes, as `check_jobs` lets pass; −1 for one a core.
    """
    results: Iterator[_Result] = Parallel(n_jobs, return_as="generator")(delayed(call)(*job) for job in jobs)
    return results


def check_jobs(n_jobs: Any) -> None:
    """Refuse what is no number of processes.

    Raises:
        InputError: It is none.
    """
    if isinstance(n_jobs, bool) or not isinstance(n_jobs, int) or not n_jobs:
        raise InputError(f"n_jobs must be a number of processes, or -1 for one a core; received {n_jobs!r:.100}")
