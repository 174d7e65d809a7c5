"""A model that needs no weights, and a run of mteb without cache or network."""

import re
import zlib

import numpy as np
import pytest

DIM = 64


def vectors(texts):
    """Counts of hashed words, float32; the first entry keeps empty texts off zero."""
    found = np.zeros((len(texts), DIM), dtype=np.float32)
    found[:, 0] = 0.01
    for vector, text in zip(found, texts, strict=True):
        for word in re.findall(r"\w+", text.lower()):
            vector[zlib.crc32(word.encode()) % DIM] += 1
    return found


def cosines(first, second):
    """One row a vector of `first`."""
    first, second = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in (first, second))
    return first @ second.T


@pytest.fixture(scope="session")
def hashing_model():
    import sentence_transformers  # noqa: F401  # mteb imports it at the first run: not the time of the first test
    from mteb.models.abs_encoder import AbsEncoder
    from mteb.models.model_meta import ModelMeta

    class Hashing(AbsEncoder):
        mteb_model_meta = ModelMeta.create_empty(overwrites={"name": "test/hashing", "revision": "1"})

        def __init__(self):
            pass

        def encode(self, inputs, **_):
            return vectors([text for batch in inputs for text in batch["text"]])

    return Hashing()


@pytest.fixture
def run(hashing_model):
    """A function giving mteb's result of a task."""
    import mteb
    from threadpoolctl import threadpool_limits

    def evaluate(task):
        options = {"cache": None, "co2_tracker": False, "show_progress_bar": False}
        with threadpool_limits(1):  # on so few rows, threads only wait for each other
            return mteb.evaluate(hashing_model, task, **options).task_results[0]

    return evaluate
