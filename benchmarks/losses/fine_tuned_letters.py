"""What losses with labels do to letters that were learnt from, and to those that were not, in a fine-tuned encoder.

As `losses/labelled` on Omniglot's letters, but what is trained is the whole ConvNet, which had learnt other alphabets:
`fit` for 40 steps of 12 letters with four drawings each, at half the rate it had first learnt with; nothing was tuned.
Baseline: the ConvNet as it comes. Floor: random vectors.

"Beside": the trained vectors, at twice the weight, joined to those that the ConvNet gives as it comes.
"""

import copy
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

import embedkit as ek
from benchmarks.drawn import Drawn
from benchmarks.halves import (
    ARMS,
    BESIDE,
    CHANCE,
    NOTHING,
    SEEDS,
    Found,
    Learnt,
    beside,
    conv_net,
    learnt_half,
    made,
    pictures,
    rows,
    search,
)
from benchmarks.peer import on_cores
from benchmarks.results import Row
from embedkit.training.batches import SeveralPerClass
from embedkit.training.fit import fit

STEPS, BATCH, PER_CLASS, RATE = 40, 48, 4, 1e-3
DATA = "Omniglot, tuned"


def run(smoke: bool) -> Iterator[Row]:
    """MAP@R by loss, each beside the ConvNet as it comes."""
    arms = ["SupCon", NOTHING, CHANCE]
    if not smoke:
        arms += [f"SupCon{BESIDE}", *(arm for arm in list(ARMS)[1:] if arm != "SBCL")]
    letters, encoder = pictures(smoke), conv_net(smoke)
    before = encoder.encode(letters.images)
    work = partial(measure, letters=letters, encoder=encoder, before=before, steps=2 if smoke else STEPS)
    jobs = [(arm, seed) for arm in arms for seed in (SEEDS[:1] if smoke else SEEDS)]
    found: dict[tuple[str, str], list[Found]] = {}
    for (arm, _), one in zip(jobs, [work(job) for job in jobs] if smoke else on_cores(work, jobs), strict=True):
        found.setdefault((DATA, arm), []).append(one)
    yield from rows("losses with labels", found, smoke)


def measure(
    job: tuple[str, int], *, letters: Drawn, encoder: ek.Encoder, before: NDArray[np.float32], steps: int
) -> Found:
    """MAP@R of seen and of unseen letters with one loss and draw of the halves."""
    arm, seed = job
    labels = np.unique(letters.labels, return_inverse=True)[1]
    first, half = np.array(letters.makers) <= 10, learnt_half(labels, seed)
    asked: NDArray[Any] = before[~first]
    if arm == CHANCE:
        asked = np.random.default_rng(seed).normal(size=asked.shape)
    elif arm != NOTHING:
        learnt = np.flatnonzero(first & np.isin(labels, half))
        codes = np.unique(labels[learnt], return_inverse=True)[1]
        loss = made(arm, Learnt(codes, before[learnt], before.shape[1]))
        trained = copy.deepcopy(encoder)
        options: dict[str, Any] = {
            "max_steps": steps,
            "batch_size": BATCH,
            "learning_rate": RATE,
            "batch_sampler": partial(SeveralPerClass, labels=codes.tolist(), per_class=PER_CLASS),
            "epochs": steps,  # of which max_steps are made
        }
        examples = {"image": list(letters.images[learnt]), "label": codes}
        fit(trained, examples, loss, seed=seed, show_progress_bar=False, **options)
        asked = beside(arm, asked, trained.encode(letters.images[~first]))
    return search(asked, labels[~first], half, seed)
