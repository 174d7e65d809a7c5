"""The functions that benchmarks of code learn from and are tested on: the Python of this machine."""

import os
import tempfile
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Literal, TypeAlias

from embedkit.corpus.distributions import STANDARD_LIBRARY, installed_distributions
from embedkit.corpus.functions import SPLITS, build_functions, read_functions
from embedkit.encoders.code.functions import Function

Part: TypeAlias = Literal["train", "validation", "test", "library"]

_PROJECT = Path(__file__).resolve().parent.parent
_SMALL = ("argparse", "calendar", "configparser", "inspect", "json", "logging", "random", "statistics", "textwrap")
"""Modules of the standard library that are the whole corpus of a smoke run."""


def corpus_functions(part: Part, *, smoke: bool) -> list[Function]:
    """Functions of installed packages in one split, or the standard library whole: no package is in two parts.

    The corpus is built once, in `build/functions` or where EMBEDKIT_FUNCTIONS says. A smoke run makes do with a few
    modules of the standard library, which it splits in two: what is not in "train" is in each other part.
    """
    if smoke:
        train, rest = _small()
        return train if part == "train" else rest
    folder = Path(os.environ.get("EMBEDKIT_FUNCTIONS") or _PROJECT / "build" / "functions")
    if not (folder / "corpus.json").is_file():
        build_functions(folder, n_jobs=-1)
    if part == "library":
        found = chain.from_iterable(read_functions(folder, split) for split in SPLITS)
        return [each for each in found if each.distribution.startswith(STANDARD_LIBRARY)]
    return [each for each in read_functions(folder, part) if not each.distribution.startswith(STANDARD_LIBRARY)]


@cache
def _small() -> tuple[list[Function], list[Function]]:
    chosen = [one for one in installed_distributions() if one.name.removeprefix(STANDARD_LIBRARY) in _SMALL]
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder, "functions")
        build_functions(corpus, chosen)
        train, *others = (list(read_functions(corpus, split)) for split in SPLITS)
    return train, list(chain.from_iterable(others))
