"""Which functions are the same or nearly the same: a hash of the syntax tree, and MinHash over runs of tokens."""

import ast
import hashlib
import re
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

from embedkit.encoders.code.functions import Definition
from embedkit.errors import InputError

__all__ = ["BANDS", "PERMUTATIONS", "SHINGLE", "MinHash", "NearDuplicates", "body_digest"]

SHINGLE = 5
PERMUTATIONS = 120
BANDS = 20

_TOKEN = re.compile(r"\w+|[^\w\s]")
_AT_A_TIME = 4096
_MIX = 0x9E3779B97F4A7C15


def body_digest(definition: Definition) -> str:
    r"""Hash a function's arguments and body; equal ones differ at most in layout, comments, name and decorators.

    Args:
        definition: A function whose docstring has been removed, unless it shall count.

    Returns:
        32 hexadecimal digits, which depend on the version of Python.

    Example:
        >>> from embedkit.encoders.code.functions import parse_function
        >>> first = parse_function("def f(a): return a+1")
        >>> second = parse_function("def g(a):\n    return (a + 1)  # one more")
        >>> body_digest(first) == body_digest(second)
        True
    """
    parts: list[str] = []
    todo: list[Any] = [definition.args, definition.body]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.AST):
            parts.append(type(node).__name__)
            todo.extend(getattr(node, field, None) for field in node._fields)
        elif isinstance(node, list):
            parts.append(f"[{len(node)}")
            todo.extend(node)
        else:  # an integer may have more digits than Python will write in decimal
            parts.append(hex(node) if type(node) is int else repr(node))
    return hashlib.blake2b("\0".join(parts).encode("utf-8", "backslashreplace"), digest_size=16).hexdigest()


class MinHash:
    """Random hash functions of the shingles of a function.

    Args:
        seed: Of the hash functions.
    """

    def __init__(self, *, seed: int = 0) -> None:
        random = np.random.default_rng(seed)
        odd = random.integers(1 << 63, size=(PERMUTATIONS + BANDS + SHINGLE, 1), dtype=np.uint64) * np.uint64(2)
        self._factors, self._bands, self._runs = np.split(odd + np.uint64(1), [PERMUTATIONS, PERMUTATIONS + BANDS])
        self._offsets = random.integers(1 << 63, size=(PERMUTATIONS, 1), dtype=np.uint64)

    def signature(self, code: str) -> npt.NDArray[np.uint32]:
        """The 120 minima of a function's shingles.

        Args:
            code: Its source; fewer than 5 tokens are one shingle.
        """
        tokens = [zlib.crc32(token.encode()) for token in _TOKEN.findall(code)]
        tokens += [0] * (SHINGLE - len(tokens))
        hashes = np.lib.stride_tricks.sliding_window_view(np.array(tokens, np.uint64), SHINGLE)
        mixed = _mixed((_mixed(hashes) * self._runs[:, 0]).sum(axis=1, dtype=np.uint64))
        parts = np.split(np.unique(mixed), range(_AT_A_TIME, len(mixed), _AT_A_TIME))
        minima = [(part * self._factors + self._offsets).min(axis=1) for part in parts if len(part)]
        least: npt.NDArray[np.uint64] = np.min(minima, axis=0)
        return (least >> np.uint64(32)).astype(np.uint32)

    def keys(self, signature: npt.NDArray[np.uint32]) -> list[int]:
        """Of each of the 20 bands, a number that is the same where its minima are."""
        rows = _mixed(signature.reshape(BANDS, -1).astype(np.uint64) + self._bands)
        folded = np.zeros(BANDS, np.uint64)
        for row in rows.T:
            folded = _mixed(folded + row)
        keys: list[int] = folded.tolist()
        return keys


class NearDuplicates:
    """The functions kept so far, and whether another is nearly one of them.

    Likeness is the Jaccard similarity of two sets of shingles, runs of 5 tokens (words, and each other sign alone).
    The share of 120 minima that agree estimates it, with standard error sqrt(likeness (1 - likeness) / 120), 0.037 at
    0.8. Only functions that agree in one of 20 bands of 6 minima are compared: a pair of likeness s is, with
    probability 1 - (1 - s^6)^20, which is 0.998 at 0.8 and more than 0.999999 at 0.9. Each takes about 2.5 kB.

    Args:
        threshold: Estimated likeness from which on a function is a near-duplicate, above 0 and at most 1.
        seed: Of the random hash functions.

    Attributes:
        hashes: These.

    Raises:
        InputError: `threshold` is out of range.

    Example:
        >>> seen = NearDuplicates()
        >>> code = " ".join(f"total = total + a[{number}]" for number in range(30))
        >>> seen.add(code), seen.add(code.replace("a[7]", "b[7]")), seen.add("return 1")
        (True, False, True)

    Reference:
        M. Allamanis, "The Adverse Effects of Code Duplication in Machine Learning Models of Code", Onward! 2019;
        A. Broder, "On the Resemblance and Containment of Documents", SEQUENCES 1997.

    Deviations:
        Allamanis compares multisets and sets of identifiers and literals of whole files, at thresholds 0.7 and 0.8;
        here shingles of functions are compared, since functions are what a corpus is split into.
    """

    def __init__(self, *, threshold: float = 0.8, seed: int = 0) -> None:
        if not 0 < threshold <= 1:
            raise InputError(f"threshold must be above 0 and at most 1; received {threshold}")
        self._threshold = threshold
        self.hashes = MinHash(seed=seed)
        self._signatures = np.empty((1024, PERMUTATIONS), np.uint32)
        self._before = np.empty((1024, BANDS), np.int32)
        self._last: dict[int, int] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, code: str) -> bool:
        """Keep a function unless it is nearly one that is kept.

        Args:
            code: Its source.

        Returns:
            Whether it was kept.
        """
        return self.add_signature(self.hashes.signature(code))

    def add_signature(self, signature: npt.NDArray[np.uint32]) -> bool:
        """As `add`, by what `hashes` made of the source."""
        keys = self.hashes.keys(signature)
        candidates = self._candidates(keys)
        if candidates and (self._signatures[candidates] == signature).mean(axis=1).max() >= self._threshold:
            return False
        self._keep(signature, keys)
        return True

    def _candidates(self, keys: list[int]) -> list[int]:
        found: set[int] = set()
        for band, key in enumerate(keys):
            index = self._last.get(key, -1)
            while index >= 0:
                found.add(index)
                index = int(self._before[index, band])
        return sorted(found)

    def _keep(self, signature: npt.NDArray[np.uint32], keys: list[int]) -> None:
        if self._count == len(self._signatures):
            self._signatures = np.concatenate([self._signatures, np.empty_like(self._signatures)])
            self._before = np.concatenate([self._before, np.empty_like(self._before)])
        self._signatures[self._count] = signature
        self._before[self._count] = [self._last.get(key, -1) for key in keys]
        self._last.update(dict.fromkeys(keys, self._count))
        self._count += 1


def _mixed(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Spread every bit over all bits, one to one."""
    values = (values ^ (values >> np.uint64(32))) * np.uint64(_MIX)
    values = (values ^ (values >> np.uint64(29))) * np.uint64(_MIX)
    return values ^ (values >> np.uint64(32))
