"""The benchmark harness: `python -m benchmarks.run NAME`, where NAME is a line of `--list` or a shelf's name.

A benchmark is a file `benchmarks/<shelf>/<name>.py` with a function `run(smoke: bool) -> Iterable[Row]`. A full
run stores its rows in `benchmarks/results/<shelf>/<name>.json`; a smoke run is the same code at a size that ends
in seconds, and its rows are checked and thrown away.
"""

import argparse
import difflib
import importlib.util
import json
import os
import platform
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from types import FrameType

from benchmarks.results import DataMissing, ResultError, Row, insert_table, method_table, store, stored, validate

SMOKE_SECONDS = 20.0

_HERE = Path(__file__).resolve().parent


class UnknownBenchmarkError(LookupError):
    """No benchmark, or more than one, has the given name."""


class TooSlowError(Exception):
    """A smoke run did not end in time."""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A file that measures one method."""

    shelf: str
    name: str
    path: Path

    def __str__(self) -> str:
        return f"{self.shelf}/{self.name}"

    def run(self, smoke: bool) -> list[Row]:
        """Import the file, call its `run`, and complete what it reports.

        Raises:
            ResultError: Its rows are not what they must be; the message tells them, so that no measurement is lost.
        """
        function, commit = self._function(), _commit(self.path.parent)
        started = time.perf_counter()
        with _deadline(SMOKE_SECONDS if smoke else None):
            rows = list(function(smoke))
        seconds = round(time.perf_counter() - started, 2)
        rows = [replace(row, shelf=self.shelf, seconds=seconds, commit=commit, machine=_machine()) for row in rows]
        try:
            validate(rows)
        except ResultError as error:
            measured = "\n".join(json.dumps(asdict(row), ensure_ascii=False) for row in rows)
            message = f"{error}\nNothing is stored. This was measured:\n{measured}"
            raise ResultError(message) from error
        return rows

    def _function(self) -> Callable[[bool], Iterable[Row]]:
        spec = importlib.util.spec_from_file_location(f"benchmarks.{self.shelf}.{self.name}", self.path)
        if spec is None or spec.loader is None:
            message = f"{self.path} cannot be imported"
            raise ImportError(message)
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        function: Callable[[bool], Iterable[Row]] = module.run
        return function


@contextmanager
def _deadline(seconds: float | None) -> Iterator[None]:
    """Raise `TooSlowError` when the block takes longer, at once where the system can interrupt it."""
    if seconds is None:
        yield
        return
    message = f"a smoke run must end within {seconds:g} s"

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise TooSlowError(message)

    started = time.perf_counter()
    former = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)
    if time.perf_counter() - started > seconds:
        raise TooSlowError(message)


@cache
def _commit(folder: Path) -> str:
    """Short hash of the checkout, and whether anything but stored results differs from it."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        changes = git("status", "--porcelain", "--", ":/", ":(exclude,top)benchmarks/results")
        return git("rev-parse", "--short", "HEAD") + ("-dirty" if changes else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


@cache
def _machine() -> str:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    import torch

    accelerator = f"{torch.cuda.get_device_name()}, " if torch.cuda.is_available() else ""
    return f"{cores} cores, {_processor()}, {accelerator}Python {platform.python_version()}, torch {torch.__version__}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor() or platform.machine())


def discover(root: Path) -> list[Benchmark]:
    """Every benchmark below `root`, by shelf and name."""
    paths = sorted(path for path in root.glob("*/*.py") if not path.name.startswith("_"))
    return [Benchmark(path.parent.name, path.stem, path) for path in paths]


def select(benchmarks: Sequence[Benchmark], name: str) -> list[Benchmark]:
    """The benchmark called `shelf/name`, or just `name` where no other shelf has it; or all of the shelf `name`.

    Raises:
        UnknownBenchmarkError: No benchmark or shelf is called so, or several benchmarks are.
    """
    if shelf := [benchmark for benchmark in benchmarks if benchmark.shelf == name]:
        return shelf
    found = [benchmark for benchmark in benchmarks if name in {str(benchmark), benchmark.name}]
    if len(found) == 1:
        return found
    names = [str(benchmark) for benchmark in benchmarks]
    if found:
        message = f"several benchmarks are called {name!r}: {', '.join(map(str, found))}"
    else:
        spelled = {
            spelling: str(benchmark) for benchmark in benchmarks for spelling in (str(benchmark), benchmark.name)
        }
        closest = difflib.get_close_matches(name, spelled, n=1, cutoff=0.5)
        hint = f"; did you mean {spelled[closest[0]]}?" if closest else "."
        message = f"no benchmark is called {name!r}{hint} There are: {', '.join(names) or 'none yet'}"
    raise UnknownBenchmarkError(message)


def run_all(benchmarks: Sequence[Benchmark], results: Path, smoke: bool) -> bool:
    """Run each benchmark and say how it went; a failure does not keep the next from running."""
    outcomes = [_run_one(benchmark, results, smoke) for benchmark in benchmarks]
    return all(outcomes)


def _run_one(benchmark: Benchmark, results: Path, smoke: bool) -> bool:
    try:
        rows = benchmark.run(smoke)
        if not smoke:
            store(results / benchmark.shelf / f"{benchmark.name}.json", rows)
    except DataMissing as error:
        print(f"{benchmark}: skipped: {error}")
        return True
    except (TooSlowError, ResultError) as error:
        print(f"{benchmark}: failed: {error}", file=sys.stderr)
        return False
    except Exception as error:
        traceback.print_exc()
        print(f"{benchmark}: failed: {type(error).__name__}: {error}", file=sys.stderr)
        return False
    print(f"{benchmark}: {len(rows)} rows in {rows[0].seconds:g} s{' (smoke, not stored)' if smoke else ''}")
    for row in rows:
        print(f"  {' · '.join(filter(None, (row.method, row.variant, row.dataset, row.metric)))}: {row.value:.6g}")
    return True


def show_table(rows: Iterable[Row], write: Path | None, check: Path | None) -> bool:
    """Print the method table, put it into a file, or tell whether a file holds it.

    Returns:
        False when the checked file is stale.

    Raises:
        ResultError: The file has no place for the table.
    """
    table = method_table(rows)
    if write is None and check is None:
        print(table)
    if write is not None:
        write.write_text(insert_table(write.read_text(encoding="utf-8"), table), encoding="utf-8")
    if check is not None and insert_table(old := check.read_text(encoding="utf-8"), table) != old:
        print(f"{check}: the method table is stale: python -m benchmarks.run --table --write {check}", file=sys.stderr)
        return False
    return True


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description="Measure what the methods are worth.")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("name", nargs="?", metavar="NAME", help="shelf/name, the name alone, or a whole shelf")
    what.add_argument("--all", action="store_true", help="run every benchmark")
    what.add_argument("--list", action="store_true", help="list the benchmarks")
    what.add_argument("--table", action="store_true", help="print the method table of the stored results")
    parser.add_argument("--smoke", action="store_true", help=f"tiny sizes, {SMOKE_SECONDS:g} s at most; stores nothing")
    parser.add_argument("--write", type=Path, metavar="FILE", help="with --table: put it between the file's two marks")
    parser.add_argument("--check", type=Path, metavar="FILE", help="with --table: exit with 1 when the file is stale")
    parsed = parser.parse_args(arguments)
    if (parsed.write or parsed.check) and not parsed.table:
        parser.error("--write and --check go with --table")
    return parsed


def main(arguments: Sequence[str] | None = None, root: Path = _HERE) -> int:
    """Run the command line on the benchmarks below `root`; returns the exit code."""
    parsed = _parse(arguments)
    benchmarks = discover(root)
    results = root / "results"
    try:
        if parsed.table:
            good = show_table(stored(results), parsed.write, parsed.check)
        elif parsed.list:
            print("\n".join(map(str, benchmarks)) or "no benchmark yet")
            good = True
        else:
            chosen = benchmarks if parsed.all else select(benchmarks, parsed.name)
            good = run_all(chosen, results, parsed.smoke)
    except (UnknownBenchmarkError, ResultError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
