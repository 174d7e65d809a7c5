"""Indexing a tree twice: the second time nothing changed, so nothing is encoded."""

import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import embedkit as ek
from benchmarks.peer import seconds
from benchmarks.results import Row
from embedkit.corpus.sync import Report, Sync
from embedkit.corpus.tokens import token_counter


def run(smoke: bool) -> Iterator[Row]:
    """Documents encoded and seconds taken by the second run over a package of the standard library."""
    tree = Path(sysconfig.get_paths()["stdlib"]) / ("sqlite3" if smoke else "asyncio")
    encoder = ek.load(device="cpu")
    reports: list[Report] = []
    with tempfile.TemporaryDirectory() as folder, ek.Retriever(encoder, folder=Path(folder, "index")) as retriever:

        def once() -> None:
            reports.append(Sync(retriever, token_counter(encoder)).run([tree], keep_others=False))

        first, second = seconds(once), seconds(once)
    name = f"stdlib {tree.name}, {reports[0].added} documents"
    yield Row(
        method="index, unchanged tree",
        dataset=name,
        metric="documents encoded",
        value=reports[1].added + reports[1].removed,
        baseline=reports[0].added,
        floor=0,
    )
    yield Row(
        method="index, unchanged tree",
        dataset=name,
        metric="s",
        value=round(second, 4),
        baseline=round(first, 2),
    )
