"""One bug each, for the check that must see it."""

import itertools
import threading
import time

import numpy as np
import torch
from sentence_transformers.base.modules import Module

from embedkit import Encoder
from tests.evaluation.check.encoders import Wrapper


class CentredOverTheBatch(Wrapper):
    def changed(self, vectors, texts):
        return vectors - vectors.mean(axis=0) / 2 if len(texts) else vectors


class QuantisedOverTheBatch(Wrapper):
    def changed(self, vectors, texts):
        scale = np.abs(vectors).max(initial=1e-9) / 127
        return np.round(vectors / scale).astype(np.float32) * np.float32(scale)


class PaddingCounts(Wrapper):
    """Divides by the padded length, as a mean without a mask does."""

    def changed(self, vectors, texts):
        lengths = np.array([len(text) + 1 for text in texts], dtype=np.float32)
        return vectors * (lengths / lengths.max(initial=1))[:, None]


class PaddingGivesNaN(Wrapper):
    """A softmax over a row that is masked as a whole."""

    def changed(self, vectors, texts):
        shorter = [len(text) < max(map(len, texts)) / 2 for text in texts]
        return np.where(np.array(shorter, dtype=bool)[:, None], np.float32(np.nan), vectors)


class SortedByLength(Wrapper):
    def changed(self, vectors, texts):
        return vectors[np.argsort([-len(text) for text in texts], kind="stable")] if len(texts) else vectors


class DropsDuplicates(Wrapper):
    def batch(self, texts, *options):
        return super().batch(list(dict.fromkeys(texts)), *options)


class DropoutOn(Wrapper):
    def batch(self, texts, *options):
        if not texts:
            return super().batch(texts, *options)
        self.encoder.train()
        with torch.no_grad():
            return self.encoder(self.encoder.preprocess(texts))["sentence_embedding"].numpy()


class Noisy(Wrapper):
    """A difference far below what another batch may make."""

    calls = itertools.count()

    def changed(self, vectors, texts):
        return vectors * np.float32(1 + 2e-7 * (next(self.calls) % 2))


class NaNForAnEmptyText(Wrapper):
    def changed(self, vectors, texts):
        return np.where(np.array([not text for text in texts], dtype=bool)[:, None], np.float32(np.nan), vectors)


class RaisesForEmoji(Wrapper):
    def batch(self, texts, *options):
        if any("🙂" in text for text in texts):
            raise KeyError("🙂")
        return super().batch(texts, *options)


class OddTextsSpoilTheirBatch(Wrapper):
    def changed(self, vectors, texts):
        return vectors * np.float32(np.nan) if len(texts) > 1 and "" in texts else vectors


class Float64(Wrapper):
    def changed(self, vectors, texts):
        return vectors.astype(np.float64)


class Fortran(Wrapper):
    def changed(self, vectors, texts):
        return np.asfortranarray(vectors)


class Tensors(Wrapper):
    def changed(self, vectors, texts):
        return torch.from_numpy(vectors)


class WrongWidth(Wrapper):
    def get_embedding_dimension(self):
        return 33


class OneInputIsABatch(Wrapper):
    def encode(self, inputs, **options):
        return self.encoder.encode([inputs] if isinstance(inputs, str) else inputs, **options)


class NoInputIsNothing(Wrapper):
    def encode(self, inputs, **options):
        return super().encode(inputs, **options) if len(inputs) else np.zeros(0, dtype=np.float32)


class SharedState(Wrapper):
    """Steps that meet in an attribute: the last thread's inputs win."""

    def batch(self, texts, *options):
        self.texts = texts
        time.sleep(0.05)
        return super().batch(self.texts, *options)


class OneAtATime(Wrapper):
    """A tokenizer that is borrowed already."""

    busy = threading.Lock()

    def batch(self, texts, *options):
        if not self.busy.acquire(blocking=False):
            raise RuntimeError("Already borrowed")
        try:
            time.sleep(0.05)
            return super().batch(texts, *options)
        finally:
            self.busy.release()


class TruncatesAfterNormalising(Wrapper):
    def batch(self, texts, batch_size, truncate_dim, num_layers):
        return super().batch(texts, batch_size, None, num_layers)[:, :truncate_dim]


class TruncatesTheWrongEnd(Wrapper):
    def batch(self, texts, batch_size, truncate_dim, num_layers):
        kept = super().batch(texts, batch_size, None, num_layers)[:, -(truncate_dim or 0) :]
        return kept / np.linalg.norm(kept, axis=1, keepdims=True)


class IgnoresTheWidth(Wrapper):
    def batch(self, texts, batch_size, truncate_dim, num_layers):
        return super().batch(texts, batch_size, None, num_layers)


class IgnoresTheDepth(Wrapper):
    def batch(self, texts, batch_size, truncate_dim, num_layers):
        return super().batch(texts, batch_size, truncate_dim, None)


class AllLayersAreOneLess(Wrapper):
    def batch(self, texts, batch_size, truncate_dim, num_layers):
        return super().batch(texts, batch_size, truncate_dim, num_layers and max(1, num_layers - 1))


class ShallowIsNaN(Wrapper):
    def batch(self, texts, batch_size, truncate_dim, num_layers):
        vectors = super().batch(texts, batch_size, truncate_dim, num_layers)
        return vectors * np.float32(np.nan) if num_layers == 1 else vectors


class NaNForALongText(Wrapper):
    def changed(self, vectors, texts):
        return np.where(
            np.array([len(text) > 3000 for text in texts], dtype=bool)[:, None], np.float32(np.nan), vectors
        )


class OneVectorForAll(Wrapper):
    def changed(self, vectors, texts):
        return np.ones_like(vectors)


class FirstLetterOnly(Wrapper):
    def batch(self, texts, *options):
        return super().batch([text[:1] for text in texts], *options)


class ZeroForShortTexts(Wrapper):
    def changed(self, vectors, texts):
        return vectors * np.array([len(text) > 2 for text in texts], dtype=np.float32)[:, None]


class InOneCorner(Wrapper):
    def changed(self, vectors, texts):
        return vectors + np.float32(100)


def with_state_that_is_not_saved(encoder):
    encoder[0].register_forward_hook(lambda part, args, out: {**out, "token_embeddings": out["token_embeddings"] + 0.1})
    return encoder


def with_a_side_that_is_not_saved(encoder):
    encoder.tokenizer.truncation_side = "left"
    return encoder


class Foreign(Module):
    def forward(self, features):
        return features

    def save(self, output_path, *args, **options):
        pass


def with_a_foreign_module(encoder):
    return Encoder([*encoder, Foreign()], device="cpu")


def reads_none(encode, inputs, prompt, options):
    return encode([""] if inputs in (None, [None]) else inputs, **options)


def trips_over_numbers(encode, inputs, prompt, options):
    return encode(inputs, **options) if inputs != [7] else len(inputs[0])


def lets_the_cut_part_count(encode, inputs, prompt, options):
    return encode(inputs, **options) * np.float32(1 + len(inputs[0]) / 1e4)


def with_more_positions_than_there_are(encoder):
    encoder.max_seq_length = 200
    return encoder
