"""Runs that go on where they were stopped: whose folder it is, and random numbers of their own."""

import contextlib
import json
import random
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers.trainer_utils import get_last_checkpoint

from embedkit.errors import CorruptFileError, InputError
from embedkit.io import write_json

_RUN = "fit.json"
_DONE = "trainer_state.json"  # what the trainer writes last into a checkpoint


def claim(place: Path, about: Mapping[str, str]) -> Path | None:
    """Mark a folder as that of this run; the checkpoint to go on from, if the run was begun before."""
    path = place / _RUN
    if path.is_file():
        try:
            before = dict(json.loads(path.read_text("utf-8")))
        except (ValueError, TypeError) as error:
            message = f"{path} must say whose run the folder holds; it cannot be read ({error}): give another folder"
            raise CorruptFileError(message) from error
        if different := [name for name in about if before.get(name) != about[name]]:
            message = (
                f"{place} holds the run of another encoder, of other examples or with other options (they differ in "
                f"{', '.join(different)}): give another folder, or the encoder as it was before that run"
            )
            raise InputError(message)
        for checkpoint in place.glob("checkpoint-*"):
            if not (checkpoint / _DONE).is_file():  # cut short while it was written
                checkpoint.rename(checkpoint.with_name(f"unfinished-{checkpoint.name}"))
        found = get_last_checkpoint(str(place))  # type: ignore[no-untyped-call]
        return Path(found) if found else None
    place.mkdir(parents=True, exist_ok=True)
    write_json(path, dict(about))
    return None


def settings(loss: nn.Module) -> str:
    """What a loss and the losses within it were built with, as far as their public attributes tell."""
    found = {}
    for path, part in loss.named_modules():
        for name, value in vars(part).items():
            if not name.startswith("_") and name != "training" and (said := _said(value)) is not None:
                found[f"{path}.{name}"] = said
    return repr(found)


def _said(value: Any) -> str | None:
    if isinstance(value, partial):
        return f"{_said(value.func)}{value.args}{value.keywords}"
    if callable(value):
        return getattr(value, "__qualname__", type(value).__qualname__)
    return repr(value) if isinstance(value, int | float | str | tuple | list | None) else None


@contextlib.contextmanager
def own_random_numbers() -> Iterator[None]:
    """The trainer seeds the generators of the whole process; others find theirs as they were."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 (the trainer's)
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
