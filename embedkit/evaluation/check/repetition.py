"""A vector is the same again: in the next call, in other threads, after saving and loading."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from numpy.typing import NDArray

from embedkit.evaluation.check.distances import largest_difference
from embedkit.evaluation.check.finding import Check, Verdict
from embedkit.evaluation.check.subject import Subject


def _determinism(subject: Subject) -> Verdict:
    first, *others = (subject.encode(subject.inputs) for _ in range(3))
    differences = (largest_difference(vectors, first) for vectors in others)
    return subject.judge(differences, f"between 3 calls with the same {len(subject.inputs)} inputs", limit=0)


def _threads(subject: Subject) -> Verdict:
    count = len(subject.inputs)
    # Each thread has inputs of its own: where state is shared, somebody gets another's rows.
    batches = [subject.inputs[start:] + subject.inputs[:start] for start in (i * count // 4 for i in range(4))]
    expected = [subject.encode(batch) for batch in batches]
    barrier = threading.Barrier(len(batches))

    def work(batch: list[Any]) -> NDArray[Any]:
        barrier.wait()
        return subject.encode(batch)

    with ThreadPoolExecutor(len(batches)) as pool:
        found = list(pool.map(work, batches))
    return subject.judge(
        map(largest_difference, found, expected),
        f"between {len(batches)} threads and one, {count} inputs each",
        limit=0,
    )


def _disk(subject: Subject) -> Verdict:
    if subject.own is None:
        return "skip", "only embedkit's encoders are saved and loaded: open the model with embedkit.load"
    inputs = subject.with_long
    difference = largest_difference(subject.reloaded.encode(inputs), subject.encode(inputs))
    over = f"over {len(inputs)} inputs after saving and loading"
    status, measured = subject.judge([difference], over, limit=0)
    if subject.reloaded.fingerprint != subject.own.fingerprint:
        return "fail", f"{measured}; the fingerprint changed"
    return status, measured


DETERMINISM = Check(
    "determinism",
    _determinism,
    "Switch dropout off (eval()), draw nothing at random in encode, and set torch.use_deterministic_algorithms "
    "on a GPU.",
)

THREADS = Check(
    "threads",
    _threads,
    "Keep no state between the steps of encode, or hold a lock around them: tokenizers and masks are not safe to "
    "share. Until then call encode from one thread only.",
)

SAVE_AND_LOAD = Check(
    "save and load",
    _disk,
    "Something that decides the vectors is not saved: keep it in parameters, buffers or the settings of a module.",
)
