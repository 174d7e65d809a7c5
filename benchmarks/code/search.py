"""Is a function found by what is said of it? Code search over the standard library, names plain and masked.

A pair is the first paragraph of a docstring and the function without it (`search_pairs`); 2,000 pairs are drawn from
the standard library without idlelib and lib2to3 with seed 0, which no training and no choice has seen. Masked, a
function is called "function", and its name stands nowhere in the code.
Both directions are asked, in two pools of 1,000 and in one of 2,000; ties count against the right one. Floors: random
vectors, TF-IDF, and BM25 (package bm25s) on names that are split into their words.

The baseline is all-MiniLM-L6-v2. The trained model is the same one after `code_search` on pairs of the training
packages, with three seeds. Its rate, size of batches, share of masked names and number of tokens, and plain code rather
than words alone, were chosen on the validation packages; so was the number of pairs, by its cost, and that training
multiplies in bfloat16 (MRR@10 of 1,000, plain and masked, one seed: .767 and .564, in float32 .762 and .559). A trained
row's value is the mean over seeds, its interval that of the queries. all-MiniLM-L6-v2 was itself trained on
CodeSearchNet, docstrings and code of GitHub.

Beside the rows, `search.png` draws MRR@10, one of 1,000.
"""

import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import embedkit as ek
from benchmarks.functions import corpus_functions
from benchmarks.peer import on_cores
from benchmarks.results import Row
from embedkit.corpus.distributions import STANDARD_LIBRARY
from embedkit.encoders.code.functions import mask_name, search_pairs
from embedkit.encoders.code.identifiers import split_identifiers
from embedkit.evaluation.floors import Bm25, RandomEncoder, TfidfEncoder
from embedkit.evaluation.pair_search import PairSearch, mean_items, pair_search, pair_search_of_scores
from embedkit.evaluation.statistics import bootstrap_interval, paired_difference
from embedkit.training.code_search import code_search

PAIRS, POOL = 2000, 1000
TRAINING_PAIRS, BATCH = 3072, 32
SEEDS = (0, 1, 2)
LEFT_OUT = {STANDARD_LIBRARY + name for name in ("idlelib", "lib2to3")}
METRIC = "MRR@10"
FORMS = ("plain", "masked")
DIRECTIONS = ("text to code", "code to text")
TRAINED, BASELINE, FLOOR = "MiniLM trained here", "MiniLM", "random vectors"

Arm = dict[tuple[str, str, int], list[PairSearch]]
"""Of each form, direction and pool: what was found, one entry a seed."""


@dataclass(frozen=True)
class Task:
    """Queries, and the documents that belong to them in each form."""

    queries: list[str]
    documents: Mapping[str, list[str]]
    pools: tuple[int, ...]


def run(smoke: bool) -> Iterator[Row]:
    """MRR@10 of each way to search, the gain of training with its test, and milliseconds a query."""
    resamples = 200 if smoke else 2000
    task = library_task(smoke)
    arms: dict[str, Arm] = {FLOOR: _by_vectors(task, RandomEncoder().encode)}
    words = split_task(task)
    arms["TF-IDF, split names"] = _by_vectors(words, TfidfEncoder([*words.queries, *words.documents["plain"]]).encode)
    arms["BM25, split names"] = _by_bm25(words)
    seeds = SEEDS[:1] if smoke else SEEDS
    *trained, untrained = on_cores(partial(_by_minilm, task=task, smoke=smoke), [*seeds, None])
    arms[BASELINE] = untrained
    arms[TRAINED] = {key: [arm[key][0] for arm in trained] for key in untrained}
    if not smoke:
        _draw(arms, Path(__file__).parents[1] / "results" / "code" / "search.png")
    for key in arms[TRAINED]:
        for name in (TRAINED, *(each for each in arms if each != TRAINED)):
            yield _row(name, key, arms, len(task.queries), resamples)
    for key in arms[TRAINED]:
        yield _gain(key, arms, resamples)
    yield _latency(ek.load(device="cpu"), task)


def library_task(smoke: bool) -> Task:
    """Pairs of the standard library, drawn with seed 0."""
    library = corpus_functions("library", smoke=smoke)
    functions = [each for each in library if each.docstring and each.distribution not in LEFT_OUT]
    plain = search_pairs(functions)
    masked = search_pairs([mask_name(each, everywhere=True) for each in functions])
    count = 8 if smoke else PAIRS
    chosen = random.Random(0).sample(range(len(plain)), count)  # noqa: S311 (no secret)
    documents = {form: [pairs[i][1] for i in chosen] for form, pairs in zip(FORMS, (plain, masked), strict=True)}
    return Task([plain[i][0] for i in chosen], documents, (count // 2, count))


def split_task(task: Task) -> Task:
    """The same with names split on both sides."""
    documents = {form: [split_identifiers(each) for each in several] for form, several in task.documents.items()}
    return Task([split_identifiers(each) for each in task.queries], documents, task.pools)


def _by_minilm(seed: int | None, *, task: Task, smoke: bool) -> Arm:
    """What the model finds, trained with the seed, or as it came."""
    encoder = ek.load(device="cpu")
    if seed is not None:
        count, batch_size = (8, 4) if smoke else (TRAINING_PAIRS, BATCH)
        functions = corpus_functions("train", smoke=smoke)
        options: dict[str, Any] = {"bf16": True, "seed": seed, "show_progress_bar": False}
        code_search(encoder, functions, num_pairs=count, batch_size=batch_size, **options)
    return _by_vectors(task, encoder.encode)


def _by_vectors(task: Task, encode: Callable[[list[str]], Any]) -> Arm:
    queries = encode(task.queries)
    found: Arm = {}
    for form, documents in task.documents.items():
        vectors = encode(documents)
        for direction, (asked, held) in zip(DIRECTIONS, ((queries, vectors), (vectors, queries)), strict=True):
            for pool in task.pools:
                found[form, direction, pool] = [pair_search(asked, held, pool=pool)]
    return found


def _by_bm25(task: Task) -> Arm:
    found: Arm = {}
    for form, documents in task.documents.items():
        sides = ((task.queries, documents), (documents, task.queries))
        for direction, (asked, held) in zip(DIRECTIONS, sides, strict=True):
            floor = Bm25()
            floor.add(range(len(held)), held, [{}] * len(held))
            scores = floor.scores(asked)
            for pool in task.pools:
                found[form, direction, pool] = [pair_search_of_scores(scores, pool=pool)]
    return found


def _row(name: str, key: tuple[str, str, int], arms: Mapping[str, Arm], count: int, resamples: int) -> Row:
    form, direction, pool = key
    interval = bootstrap_interval([mean_items(arms[name][key], METRIC)], resamples=resamples)
    of_seeds = [each.score(METRIC) for each in arms[name][key]]
    seeds = f"; seeds: {', '.join(f'{each:.4f}' for each in of_seeds)}; baseline: untrained" if name == TRAINED else ""
    return Row(
        method="code search",
        variant=f"{name}{seeds}",
        dataset=f"stdlib, {form}",
        metric=f"{METRIC} of {pool:,}, {direction}",
        value=interval.value,
        low=interval.low,
        high=interval.high,
        seeds=len(of_seeds),
        baseline=arms[BASELINE][key][0].score(METRIC) if name == TRAINED else None,
        floor=float((1 / np.arange(1, min(pool, 10) + 1)).sum() / pool),
    )


def _gain(key: tuple[str, str, int], arms: Mapping[str, Arm], resamples: int) -> Row:
    """Trained minus untrained on the same queries; p of a permutation test."""
    form, direction, pool = key
    trained, untrained = (mean_items(arms[name][key], METRIC) for name in (TRAINED, BASELINE))
    found = paired_difference([trained], [untrained], resamples=resamples)
    return Row(
        method="code search",
        variant=f"{TRAINED} minus {BASELINE}; p = {found.p_value:.4f}",
        dataset=f"stdlib, {form}",
        metric=f"gain in {METRIC} of {pool:,}, {direction}",
        value=found.difference,
        low=found.low,
        high=found.high,
        seeds=len(arms[TRAINED][key]),
        floor=0.0,
    )


def _latency(encoder: ek.Encoder, task: Task) -> Row:
    """Milliseconds from the text of a query to the ten best of the documents, in a list of queries."""
    documents = task.documents["plain"][:200]
    index = ek.FaissIndex()
    index.add(range(len(documents)), encoder.encode(documents))
    started = time.perf_counter()
    index.search(encoder.encode(task.queries), k=10)
    milliseconds = 1000 * (time.perf_counter() - started) / len(task.queries)
    return Row(
        method="code search",
        variant=f"MiniLM and FaissIndex, {len(documents)} documents, one thread",
        dataset="stdlib, plain",
        metric="ms a query, of a list",
        value=round(milliseconds, 3),
    )


def _draw(arms: Mapping[str, Arm], path: Path) -> None:
    """Bars of MRR@10, one of 1,000: a panel a direction, a colour a form."""
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), sharey=True, layout="constrained")
    places = np.arange(len(arms))[::-1]
    for axis, direction in zip(axes, DIRECTIONS, strict=True):
        for offset, form, colour in ((0.2, "plain", "tab:blue"), (-0.2, "masked", "tab:orange")):
            heights = [mean_items(arm[form, direction, POOL], METRIC).columns["score"].mean() for arm in arms.values()]
            bars = axis.barh(places + offset, heights, 0.38, label=f"names {form}", color=colour)
            axis.bar_label(bars, fmt="%.3f", padding=2, fontsize=7)
        axis.set(title=direction, xlim=(0, 1), xlabel="MRR@10, one of 1,000")
        axis.set_yticks(places, list(arms))
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False, loc="upper right")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)
