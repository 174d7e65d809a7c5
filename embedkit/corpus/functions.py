"""A corpus of functions from the Python on a machine: filtered, deduplicated, split by distribution, written down."""

import hashlib
import json
import os
import platform
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from tqdm import tqdm

from embedkit.corpus.candidates import RULES, Candidate, Candidates, find_candidates
from embedkit.corpus.distributions import STANDARD_LIBRARY, Distribution, installed_distributions
from embedkit.corpus.duplicates import BANDS, PERMUTATIONS, SHINGLE, NearDuplicates
from embedkit.encoders.code.functions import Function
from embedkit.errors import CorruptFileError, EmbedkitError, InputError
from embedkit.io import (
    CHECKSUMS,
    raise_storage_error,
    read_json,
    seal_folder,
    sha256_of,
    verify_folder,
    write_atomic,
    write_json,
)
from embedkit.processes import check_jobs, in_processes

__all__ = ["MANIFEST", "SPLITS", "build_functions", "read_functions"]

MANIFEST = "corpus.json"
SPLITS = {"train": 0.8, "validation": 0.1, "test": 0.1}
"""Share of the distributions in each split, as a hash of their names puts them."""

_COUNTS = (
    *("files", "tests", "vendored", "unreadable", "huge", "duplicate_files", "binary", "undecodable", "generated"),
    *("unparseable", "functions", "inseparable", "trivial", "duplicate_bodies", "near_duplicates", "kept"),
    "with_docstring",
)
_KIND = "functions of Python"
_THRESHOLD = 0.8
_WORK = ".building"
_PLAN = "plan.json"


def build_functions(
    folder: str | os.PathLike[str],
    distributions: Iterable[Distribution] | None = None,
    *,
    seed: int = 0,
    max_bytes: int = 1_000_000,
    n_jobs: int = 1,
) -> dict[str, Any]:
    """Write the functions of many distributions into a folder, each once, with a manifest that counts every stage.

    The standard library comes first, then distributions by name, and their files by path. Of files, left out are tests,
    vendored copies and generated code, by the names of files and folders and by marks in the first 20 lines; files
    above `max_bytes`; files that are not Python of the version that runs; and files equal to one before. Of functions,
    left out are trivial ones, whose body is `pass`, `...` or `raise`; then those whose arguments and body, without the
    docstring, have the syntax tree of one before; then those estimated to share 0.8 of their shingles with one before.
    What stays is in the split of its distribution, never of its own: the split follows from a hash of `seed` and the
    distribution's name.

    The same distributions give the same bytes. A build that was stopped goes on behind the last whole distribution
    when it is called again, and a finished one is returned as it is.

    Args:
        folder: Is made. It must be absent, empty, or hold this very corpus, whole or in part.
        distributions: What to read; the standard library and every installed package without them.
        seed: Of the split and of the hashes that find near-duplicates, 0 or more.
        max_bytes: Larger files are left out.
        n_jobs: How many processes read files, which changes no byte; −1 for one a core.

    Returns:
        The manifest: "seed", "versions", "rules"; "distributions", with the version, the split and a hash of the names
        and sizes of the files; "counts" of each distribution and "totals" of each split. Of the counts, "files" and
        "functions" are all there were, "kept" the functions that were written, "with_docstring" those of them that
        have one, and the others say why files and functions fell out.

    Raises:
        InputError: An argument is out of range, two distributions share a name, or the folder holds something else.
        StorageError: The disk refused; what is there is whole, and the next call goes on from it.

    Example:
        >>> import json, tempfile
        >>> from pathlib import Path
        >>> from embedkit.corpus.distributions import folder_distribution
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     manifest = build_functions(Path(folder, "corpus"), [folder_distribution(Path(json.__file__).parent)])
        ...     split = manifest["distributions"]["json"]["split"]
        ...     functions = list(read_functions(Path(folder, "corpus"), split))
        >>> functions[0].path, functions[0].qualified_name
        ('__init__.py', 'dump')

    Reference:
        A. Kanade, P. Maniatis, G. Balakrishnan, K. Shi, "Learning and Evaluating Contextual Embedding of Source Code",
        ICML 2020; M. Allamanis, "The Adverse Effects of Code Duplication in Machine Learning Models of Code",
        Onward! 2019, for the removal of duplicates.

    Deviations:
        Kanade et al. take files of GitHub and split by file; here whole distributions are split, since files of one
        know each other. Duplicates are removed across distributions, and the first of them stays.
    """
    chosen = sorted(installed_distributions() if distributions is None else distributions, key=_place)
    _check_arguments(chosen, seed, max_bytes, n_jobs)
    target = Path(folder)
    plan = _plan(chosen, seed, max_bytes)
    try:
        if not _has_manifest(target, plan):
            (target / _WORK).mkdir(parents=True, exist_ok=True)
            write_json(target / _WORK / _PLAN, plan)
            write_json(target / MANIFEST, _manifest(plan, _build(target, chosen, plan, n_jobs)))
        _seal(target)
    except EmbedkitError:
        raise
    except OSError as error:
        raise_storage_error(error, f"cannot write {target}")
    return read_json(target / MANIFEST)


def read_functions(folder: str | os.PathLike[str], split: str) -> Iterator[Function]:
    """Read the functions of one split.

    Args:
        folder: Where `build_functions` wrote them.
        split: "train", "validation" or "test".

    Returns:
        The functions in the order of the build. The folder is checked at the call, not at the first function.

    Raises:
        InputError: There is no such split, or the folder holds no finished corpus of functions.
        CorruptFileError: A file is not what was written.
    """
    source = Path(folder)
    if split not in SPLITS:
        raise InputError(f"split must be one of {', '.join(SPLITS)}; received {split!r}")
    if not (source / CHECKSUMS).is_file() or not (source / MANIFEST).is_file():
        state = "holds one that is not finished" if (source / _WORK).is_dir() else "holds none"
        raise InputError(f"folder must hold a corpus of functions; {source} {state}: call build_functions")
    verify_folder(source)
    manifest = read_json(source / MANIFEST)
    if manifest.get("kind") != _KIND:
        raise InputError(f"folder must hold a corpus of functions; {source} holds {manifest.get('kind')!r}")
    kept = {name for name, counts in manifest["counts"].items() if counts["kept"]}
    names = [name for name, one in manifest["distributions"].items() if one["split"] == split and name in kept]
    return (function for name in names for function in _read_shard(_shard(source, split, name)))


@dataclass
class _Seen:
    """What the distributions before have taught: hashes of files and syntax trees, and signatures."""

    near: NearDuplicates
    files: set[str] = field(default_factory=set)
    bodies: set[str] = field(default_factory=set)


@dataclass
class _Found:
    """What one distribution gave. Its lists are what a build that goes on has to know."""

    functions: list[Function] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    files: list[str] = field(default_factory=list)
    bodies: list[str] = field(default_factory=list)


def _place(one: Distribution) -> tuple[bool, str]:
    return not one.name.startswith(STANDARD_LIBRARY), one.name


def _check_arguments(distributions: Sequence[Distribution], seed: int, max_bytes: int, n_jobs: int) -> None:
    if not distributions:
        raise InputError("distributions must hold at least one; received none")
    for name, value, least in (("seed", seed, 0), ("max_bytes", max_bytes, 1)):
        if not isinstance(value, int) or value < least:
            raise InputError(f"{name} must be an integer of {least} or more; received {value!r}")
    check_jobs(n_jobs)
    seen: set[str] = set()
    for one in distributions:
        path = PurePosixPath(one.name)
        if path.is_absolute() or not path.parts or ".." in path.parts or str(path) != one.name:
            raise InputError(f"a distribution's name must be a relative path such as 'numpy'; received {one.name!r}")
        if one.name in seen:
            raise InputError(f"distributions must have names of their own; {one.name!r} came twice: name one otherwise")
        seen.add(one.name)


def _plan(distributions: Sequence[Distribution], seed: int, max_bytes: int) -> dict[str, Any]:
    """All that decides the bytes of a corpus, except what is inside the files."""
    rules = {
        **RULES,
        "max_bytes": max_bytes,
        "shingle": SHINGLE,
        "permutations": PERMUTATIONS,
        "bands": BANDS,
        "threshold": _THRESHOLD,
        "splits": SPLITS,
    }
    described = {
        one.name: {"version": one.version, "split": _split(one.name, seed), "listing": one.fingerprint()}
        for one in distributions
    }
    return {
        "kind": _KIND,
        "seed": seed,
        "versions": {"python": platform.python_version(), "numpy": np.__version__},
        "rules": rules,
        "distributions": described,
    }


def _split(name: str, seed: int) -> str:
    place = int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:8], "big") / 2**64
    for split, share in SPLITS.items():
        place -= share
        if place < 0:
            return split
    return "test"


def _has_manifest(folder: Path, plan: Mapping[str, Any]) -> bool:
    """Whether the folder holds this corpus up to its manifest; one that holds anything else is refused."""
    names = {path.name for path in folder.iterdir()} if folder.exists() else set()
    place = folder / MANIFEST if MANIFEST in names else folder / _WORK / _PLAN
    if not place.is_file():
        if names <= {_WORK}:
            return False
        others = ", ".join(sorted(names)[:3])
        message = f"folder must be absent, empty or hold this corpus; {folder} holds {others}: choose another"
        raise InputError(message)
    known = read_json(place)
    differing = [key for key in plan if known.get(key) != plan[key]]
    if differing:
        message = (
            f"folder must be absent, empty or hold this corpus; {folder} holds another, with other "
            f"{', '.join(differing)}: choose another folder, or delete it"
        )
        raise InputError(message)
    return place.name == MANIFEST


def _build(
    folder: Path, distributions: Sequence[Distribution], plan: Mapping[str, Any], n_jobs: int
) -> dict[str, Counter[str]]:
    """Go through the distributions in order, writing each; the counts of each."""
    seen = _Seen(NearDuplicates(threshold=_THRESHOLD, seed=plan["seed"]))
    counts: dict[str, Counter[str]] = {}
    total = sum(len(one.files) for one in distributions)
    with tqdm(total=total, desc="functions", unit=" files", disable=None) as bar:
        for number, one in enumerate(distributions):
            record = folder / _WORK / f"{number:06d}.json"
            shard = _shard(folder, plan["distributions"][one.name]["split"], one.name)
            if _is_restored(record, shard, seen, counts, one.name):
                bar.update(len(one.files))
            else:
                found = _examined(one, seen, plan["rules"]["max_bytes"], n_jobs, bar.update)
                counts[one.name] = found.counts
                _write(record, shard, found)
    return counts


def _manifest(plan: Mapping[str, Any], counts: Mapping[str, Counter[str]]) -> dict[str, Any]:
    totals: dict[str, Counter[str]] = {split: Counter() for split in SPLITS}
    for name, one in plan["distributions"].items():
        totals[one["split"]].update(counts[name])
    return {**plan, "counts": counts, "totals": totals}


def _seal(folder: Path) -> None:
    """Remove what only the build needed and record every checksum; a corpus that has them is verified."""
    if (folder / _WORK).is_dir():
        shutil.rmtree(folder / _WORK)
    if (folder / CHECKSUMS).is_file():
        verify_folder(folder)
        return
    for path in folder.rglob(".*.tmp"):
        path.unlink()
    seal_folder(folder)


def _write(record: Path, shard: Path, found: _Found) -> None:
    """The functions first, then the record that says they are whole."""
    digest = None
    if found.functions:
        text = "".join(json.dumps(asdict(one), ensure_ascii=False) + "\n" for one in found.functions)
        shard.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(shard, lambda temporary: _write_bytes(temporary, text.encode()))
        digest = sha256_of(shard)
    write_json(record, {"shard": digest, "counts": found.counts, "files": found.files, "bodies": found.bodies})


def _write_bytes(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _is_restored(record: Path, shard: Path, seen: _Seen, counts: dict[str, Counter[str]], name: str) -> bool:
    """Take over a distribution that an earlier call finished; False when there is none that is whole."""
    try:
        known = read_json(record)
        if known["shard"] is not None and sha256_of(shard) != known["shard"]:
            return False
        functions = [] if known["shard"] is None else list(_read_shard(shard))
    except (CorruptFileError, FileNotFoundError):
        return False
    seen.files.update(known["files"])
    seen.bodies.update(known["bodies"])
    for function in functions:
        seen.near.add(function.code)  # it was kept, so it is kept again
    counts[name] = Counter(known["counts"])
    return True


def _read_shard(path: Path) -> Iterator[Function]:
    with path.open(encoding="utf-8", newline="\n") as file:
        for line in file:
            yield Function(**json.loads(line))


def _shard(folder: Path, split: str, name: str) -> Path:
    return folder / split / f"{name}.jsonl"


def _examined(
    distribution: Distribution, seen: _Seen, max_bytes: int, n_jobs: int, advance: Callable[[], object]
) -> _Found:
    found = _Found(counts=Counter(dict.fromkeys(_COUNTS, 0)))
    found.counts["files"] = len(distribution.files) + len(distribution.unreadable)
    found.counts["unreadable"] = len(distribution.unreadable)
    rest = distribution.name, max_bytes, seen.near.hashes
    jobs = ((distribution.root, file, *rest) for file in distribution.files)
    for file in in_processes(find_candidates, jobs, n_jobs):
        advance()
        reason = _known(file, seen, found) or file.reason
        if reason is not None:
            found.counts[reason] += 1
            continue
        for candidate in file.found:
            found.counts["functions"] += 1
            found.counts[candidate.reason or _judged(candidate, seen, found)] += 1
    found.counts["with_docstring"] = sum(one.docstring is not None for one in found.functions)
    return found


def _known(file: Candidates, seen: _Seen, found: _Found) -> str | None:
    """Whether an equal file came before; from now on one has."""
    if file.digest is None:
        return None
    if file.digest in seen.files:
        return "duplicate_files"
    seen.files.add(file.digest)
    found.files.append(file.digest)
    return None


def _judged(candidate: Candidate, seen: _Seen, found: _Found) -> str:
    """Keep a function, or say which one before it resembles."""
    if candidate.body in seen.bodies:
        return "duplicate_bodies"
    seen.bodies.add(candidate.body)
    found.bodies.append(candidate.body)
    if not seen.near.add_signature(candidate.signature):
        return "near_duplicates"
    found.functions.append(candidate.function)
    return "kept"
