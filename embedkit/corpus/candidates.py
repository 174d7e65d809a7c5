"""What one file of Python offers a corpus of functions, whatever other files offer."""

import ast
import hashlib
import io
import re
import tokenize
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from embedkit.corpus.duplicates import MinHash, body_digest
from embedkit.encoders.code.functions import Function, find_functions, parse_function
from embedkit.errors import InputError

__all__ = ["RULES", "Candidate", "Candidates", "find_candidates"]

_TESTS = re.compile(r"_*(idle_?)?tests?_*|_*testing|tests?_.+|.+_tests?|conftest")
_VENDORED = re.compile(r"_*(vendor(ed)?|extern(al)?s?|third_?party|bundled)_*|_distutils")
_GENERATED_NAMES = re.compile(r".+_pb2(_grpc)?|.*(parsetab|lextab|yacctab)|_version")
_GENERATED_MARKS = re.compile(
    r"(auto(matically)?|machine)[- ]?generated|do not edit|^\s*#.*\bgenerated (by|from)\b", re.I
)
_MARKED_LINES = 20

RULES: dict[str, Any] = {
    "tests": _TESTS.pattern,
    "vendored": _VENDORED.pattern,
    "generated_names": _GENERATED_NAMES.pattern,
    "generated_marks": _GENERATED_MARKS.pattern,
    "marked_lines": _MARKED_LINES,
}
"""By which files are left out, for a manifest."""


class Candidate(NamedTuple):
    """A function, and what is compared with those before.

    Attributes:
        function: The function.
        reason: Why no corpus keeps it, "inseparable" or "trivial"; None where one may.
        body: Hash of its arguments and body; empty where there is a reason.
        signature: Its MinHash, (120,); likewise.
    """

    function: Function
    reason: str | None
    body: str = ""
    signature: NDArray[np.uint32] = np.empty(0, np.uint32)


class Candidates(NamedTuple):
    """The functions of a file.

    Attributes:
        reason: Why it gives none, as the manifest of a corpus calls it; None where it may.
        digest: Hash of its bytes; None where these were not read.
        found: Its functions.
    """

    reason: str | None
    digest: str | None = None
    found: tuple[Candidate, ...] = ()


class _Unusable(Exception):  # noqa: N818
    """A file that gives nothing; the message is the name of its count."""


def find_candidates(root: Path, path: str, distribution: str, max_bytes: int, hashes: MinHash) -> Candidates:
    """Read a file.

    Args:
        root: Folder of the distribution.
        path: The file in it, with slashes.
        distribution: Its name.
        max_bytes: A larger file is left out.
        hashes: What makes the signatures.
    """
    try:
        data = _data(root / path, path, max_bytes)
    except _Unusable as reason:
        return Candidates(str(reason))
    digest = hashlib.blake2b(data, digest_size=16).hexdigest()
    try:
        functions = _functions(_text(data), distribution, path)
    except _Unusable as reason:
        return Candidates(str(reason), digest)
    return Candidates(None, digest, tuple(_candidate(each, hashes) for each in functions))


def _data(place: Path, path: str, max_bytes: int) -> bytes:
    reason = _left_out(PurePosixPath(path))
    if reason is not None:
        raise _Unusable(reason)
    try:
        with place.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError:
        raise _Unusable("unreadable") from None
    if len(data) > max_bytes:
        raise _Unusable("huge")
    return data


def _left_out(path: PurePosixPath) -> str | None:
    parts = [*path.parts[:-1], path.stem]
    if any(_TESTS.fullmatch(part) for part in parts):
        return "tests"
    if any(_VENDORED.fullmatch(part) for part in parts[:-1]):
        return "vendored"
    return "generated" if _GENERATED_NAMES.fullmatch(path.stem) else None


def _text(data: bytes) -> str:
    text = _decoded(data)
    if any(_GENERATED_MARKS.search(line) for line in text.split("\n", _MARKED_LINES)[:_MARKED_LINES]):
        raise _Unusable("generated")
    return text


def _decoded(data: bytes) -> str:
    """Python says its encoding itself (PEP 263)."""
    if b"\0" in data:
        raise _Unusable("binary")
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        return data.decode(encoding)
    except (SyntaxError, LookupError, UnicodeError):
        raise _Unusable("undecodable") from None


def _functions(text: str, distribution: str, path: str) -> list[Function]:
    try:
        return find_functions(text, distribution=distribution, path=path)
    except InputError:
        raise _Unusable("unparseable") from None


def _candidate(function: Function, hashes: MinHash) -> Candidate:
    try:
        definition = parse_function(function.code)
    except InputError:  # its lines mix tabs and spaces so that they mean nothing without what is around them
        return Candidate(function, "inseparable")
    if all(_is_trivial(node) for node in definition.body):
        return Candidate(function, "trivial")
    return Candidate(function, None, body_digest(definition), hashes.signature(function.code))


def _is_trivial(node: ast.stmt) -> bool:
    is_ellipsis = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and node.value.value is ...
    return is_ellipsis or isinstance(node, ast.Pass | ast.Raise)
