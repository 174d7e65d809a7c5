"""What losses with labels do to classes that were learnt from, and to those that were not, in a fine-tuned encoder.

As `losses/labelled`, on the texts, but what is trained is the last of the six layers of all-MiniLM-L6-v2, on the states
behind the fifth, which do not change and are computed once: AdamW, 50 steps of 12 classes with four texts each, mean
of the tokens, length 1. Baseline: the encoder as it comes. Floor: random vectors. Rate and steps were chosen for SupCon
on Banking77, by a look at another draw of the halves and other texts; the other losses take them as they are.

"Beside": the trained vectors, at twice the weight, joined to those that the encoder gives as it comes.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import embedkit as ek
from benchmarks.halves import (
    ARMS,
    BESIDE,
    CHANCE,
    NOTHING,
    SEEDS,
    Found,
    Learnt,
    Texts,
    beside,
    jobs,
    learnt_half,
    made,
    rows,
    search,
    texts,
)
from benchmarks.peer import on_cores
from benchmarks.results import Row
from embedkit.training.batches import class_batches
from embedkit.training.memory import begin_epoch, remembers

STEPS, BATCH, PER_CLASS, RATE = 50, 48, 4, 7e-4


@dataclass(frozen=True)
class States:
    """Texts behind the fifth layer.

    Attributes:
        states: (n, tokens, 384), in half precision to be kept and handed on; of shorter texts the rest is 0.
        mask: Which are tokens, (n, tokens).
    """

    states: NDArray[np.float16]
    mask: NDArray[np.bool_]

    def of(self, some: NDArray[np.bool_]) -> "States":
        """Those in some rows."""
        return States(self.states[some], self.mask[some])

    def parts(self, some: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], Tensor, Tensor]]:
        """Those in some rows, sixteen of like length at a time: their places, states and mask."""
        lengths = self.mask[some].sum(axis=1)
        for places in np.array_split(np.argsort(lengths, kind="stable"), max(1, len(some) // 16)):
            width, part = int(lengths[places].max()), some[places]
            yield places, torch.from_numpy(self.states[part, :width]).float(), torch.from_numpy(self.mask[part, :width])


class LastLayer(nn.Module):
    """From states to vectors of length 1."""

    def __init__(self, encoder: ek.Encoder) -> None:
        super().__init__()
        backbone: Any = encoder[0]
        self.layer = copy.deepcopy(backbone.auto_model.encoder.layer[-1])

    def forward(self, states: States, some: NDArray[np.int64]) -> Tensor:
        """Of some rows, in their order."""
        places, found = [], []
        for of, inner, mask in states.parts(some):
            outer = self.layer(inner, attention_mask=mask[:, None, None, :])
            outer = outer[0] if isinstance(outer, tuple) else outer
            places.append(of)
            found.append((outer * mask[:, :, None]).sum(dim=1) / mask.sum(dim=1, keepdim=True))
        order = torch.from_numpy(np.concatenate(places)).argsort()
        return nn.functional.normalize(torch.cat(found)[order], dim=1)

    def encode(self, states: States) -> NDArray[np.float32]:
        """All, in their order."""
        with torch.no_grad():
            vectors: NDArray[np.float32] = self(states, np.arange(len(states.mask))).numpy()
            return vectors


def run(smoke: bool) -> Iterator[Row]:
    """MAP@R by loss and data, each beside the encoder as it comes."""
    arms = ["SupCon", NOTHING, CHANCE]
    if not smoke:
        arms += [f"SupCon{BESIDE}", *list(ARMS)[1:]]
    all_jobs = jobs(texts(smoke), arms, SEEDS[:1] if smoke else SEEDS)
    work = partial(measure, steps=2 if smoke else STEPS)
    each = [work(job) for job in all_jobs] if smoke else on_cores(work, all_jobs)
    found: dict[tuple[str, str], list[Found]] = {}
    for (data, arm, _), one in zip(all_jobs, each, strict=True):
        found.setdefault((f"{data.name}, last layer", arm), []).append(one)
    yield from rows("losses with labels", found, smoke)


def measure(job: tuple[Texts, str, int], *, steps: int, rate: float = RATE) -> Found:
    """MAP@R of seen and of unseen classes with one loss and draw of the halves."""
    data, arm, seed = job
    half = learnt_half(data.labels, seed)
    if arm == CHANCE:
        chance = np.random.default_rng(seed).normal(size=(len(data.test), 384))
        return search(chance, data.test_labels, half, seed)
    last, asked = LastLayer(_encoder()).eval(), _states(tuple(data.test))
    before = last.encode(asked)
    if arm == NOTHING:
        return search(before, data.test_labels, half, seed)
    learnt = np.isin(data.labels, half)
    labels = np.unique(data.labels[learnt], return_inverse=True)[1]
    states = _states(tuple(data.train)).of(learnt)
    loss = made(arm, Learnt(labels, last.encode(states), before.shape[1]))
    _train(last, loss, states, labels, seed, steps, rate)
    return search(beside(arm, before, last.encode(asked)), data.test_labels, half, seed)


def _train(
    last: LastLayer, loss: nn.Module, states: States, labels: NDArray[np.int64], seed: int, steps: int, rate: float
) -> None:
    """Weights of the loss, which begin with nothing, learn ten times as fast as the layer."""
    groups: list[dict[str, Any]] = [{"params": list(last.parameters())}, {"params": list(loss.parameters())}]
    optimizer = torch.optim.AdamW(groups)
    told = torch.arange(len(labels)) if remembers(loss, labels) else torch.from_numpy(labels)
    batches: Iterator[list[int]] = iter(())
    epoch = 0
    for step in range(steps):
        for group, share in zip(optimizer.param_groups, (rate, 10 * rate), strict=True):
            group["lr"] = share * (1 - step / steps)
        batch = next(batches, None)
        if batch is None:
            begin_epoch(loss, epoch, lambda: last.encode(states))
            epoch += 1
            batches = class_batches(labels.tolist(), BATCH, PER_CLASS, seed=seed + step)
            batch = next(batches)
        optimizer.zero_grad()
        loss(last(states, np.array(batch)), told[batch]).backward()
        optimizer.step()


@cache
def _encoder() -> ek.Encoder:
    return ek.load(device="cpu")


@cache
def _states(some: tuple[str, ...]) -> States:
    """Behind the fifth layer, once in each process; texts of like length together."""
    encoder = _encoder()
    backbone: Any = encoder[0]
    order = np.argsort([len(text) for text in some])
    widest = encoder.preprocess(list(some))["attention_mask"].shape[1]
    states = np.zeros((len(some), widest, 384), np.float16)
    mask = np.zeros((len(some), widest), bool)
    for rows_of in np.array_split(order, max(1, len(some) // 64)):
        features = encoder.preprocess([some[row] for row in rows_of])
        inputs = {name: features[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
        with torch.no_grad():
            found = backbone.auto_model(**inputs, output_hidden_states=True).hidden_states[-2]
        width = found.shape[1]
        states[rows_of, :width], mask[rows_of, :width] = found.numpy(), inputs["attention_mask"].numpy() > 0
    return States(states, mask)
