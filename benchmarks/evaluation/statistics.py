"""Whether intervals hold the truth as often as they say, and tests err no more often than they say: by simulation."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from benchmarks.results import Row
from embedkit.evaluation.items import Items
from embedkit.evaluation.statistics import STATISTICS, bootstrap_interval, paired_difference

LEVEL = 0.95
RESAMPLES = 1000
PERMUTATIONS = 399
SIMULATIONS = 1000

Generator = np.random.Generator
Columns = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Case:
    """A population of items whose score is known.

    Attributes:
        name: What the table calls it.
        statistic: Key of `STATISTICS`.
        count: How many items one simulated test set has.
        draw: Columns of that many items.
        truth: The score of the population; None where a million items stand for it.
    """

    name: str
    statistic: str
    count: int
    draw: Callable[[Generator, int], Columns]
    truth: float | None = None


def run(smoke: bool) -> Iterator[Row]:
    """Coverage of 95 % intervals beside plain percentiles; error and power at 0.05 beside the swap of raw scores."""
    simulations = 20 if smoke else SIMULATIONS
    for case in _cases():
        yield _coverage(case, simulations)
    yield _errors_on_accuracies(simulations)
    yield from _errors_on_similarities(simulations, "false positives at 0.05", worse=0.0)
    yield from _errors_on_similarities(simulations, "power at 0.05", worse=0.2)


def _cases() -> Iterator[Case]:
    for right, count in ((0.8, 200), (0.8, 1000), (0.97, 200)):
        yield Case(f"accuracy {right}, n={count}", "accuracy", count, _answers(right), right)
    yield Case("nDCG, many 0 and 1, n=225", "mean", 225, _gains, 0.3 + 0.5 * 0.6)
    yield Case("Spearman 0.79, n=300", "spearman", 300, _normals, 6 / np.pi * np.arcsin(0.8 / 2))
    yield Case("average precision, n=200", "average_precision", 200, _two_classes)
    yield Case("F1, 40 classes, n=300", "f1", 300, _forty_classes)


def _answers(right: float) -> Callable[[Generator, int], Columns]:
    return lambda generator, count: {
        "prediction": (generator.random(count) < right).astype(np.float64),
        "target": np.ones(count),
    }


def _gains(generator: Generator, count: int) -> Columns:
    kind = generator.random(count)
    return {"score": np.where(kind < 0.2, 0, np.where(kind < 0.5, 1, generator.beta(3, 2, count)))}


def _normals(generator: Generator, count: int) -> Columns:
    target, noise = generator.normal(size=(2, count))
    return {"score": 0.8 * target + 0.6 * noise, "target": target}


def _two_classes(generator: Generator, count: int) -> Columns:
    target = (generator.random(count) < 0.3).astype(np.float64)
    return {"score": target + generator.normal(size=count), "target": target}


def _forty_classes(generator: Generator, count: int) -> Columns:
    target, guess = generator.integers(40, size=(2, count)).astype(np.float64)
    return {"prediction": np.where(generator.random(count) < 0.7, target, guess), "target": target}


def _coverage(case: Case, simulations: int) -> Row:
    """How often the interval holds the score of the population, and how often percentiles do."""
    generator = np.random.default_rng(0)
    statistic = STATISTICS[case.statistic]
    truth = case.truth
    if truth is None:
        truth = float(statistic(case.draw(generator, 10**6), np.arange(10**6)[None])[0])
    held, held_by_percentiles = 0, 0
    for seed in range(simulations):
        columns = case.draw(generator, case.count)
        found = bootstrap_interval([_items(case.statistic, columns)], level=LEVEL, resamples=RESAMPLES, seed=seed)
        held += found.low <= truth <= found.high
        drawn = statistic(columns, generator.integers(case.count, size=(RESAMPLES, case.count)))
        low, high = np.nanquantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        held_by_percentiles += low <= truth <= high
    return _share(
        held,
        simulations,
        method="bootstrap_interval",
        variant=f"{simulations:,} simulations of {RESAMPLES:,} resamples, seed 0; baseline: percentile bootstrap",
        dataset=case.name,
        metric="coverage, nominal 0.95",
        baseline=held_by_percentiles / simulations,
    )


def _errors_on_accuracies(simulations: int) -> Row:
    """How often p is at most 0.05 for two models of equal accuracy that agree on most of 200 texts."""
    generator = np.random.default_rng(0)
    target = np.ones(200)
    found = 0
    for seed in range(simulations):
        likely = generator.choice([0.2, 0.95], size=200, p=[0.3, 0.7])
        a, b = (generator.random((2, 200)) < likely).astype(np.float64)
        found += _differs("accuracy", {"prediction": a, "target": target}, {"prediction": b, "target": target}, seed)
    return _share(
        found,
        simulations,
        method="paired_difference",
        variant=_permuted(simulations),
        dataset="accuracy, n=200",
        metric="false positives at 0.05",
    )


def _errors_on_similarities(simulations: int, metric: str, *, worse: float) -> Iterator[Row]:
    """How often p is at most 0.05 for similarities of two scales, by the test and by swapping raw scores.

    Of 300 pairs, the first model gives similarities around 0 that spread by more than 1, the second around 0.8 that
    spread by a tenth of it, with noise that is larger by the share `worse`.
    """
    generator = np.random.default_rng(0)
    found, naive = 0, 0
    for seed in range(simulations):
        target, noise_a, noise_b = generator.normal(size=(3, 300))
        a, b = target + noise_a, 0.8 + 0.1 * (target + (1 + worse) * noise_b)
        found += _differs("spearman", {"score": a, "target": target}, {"score": b, "target": target}, seed)
        naive += _raw_swap(a, b, target, generator) <= 1 - LEVEL
    about = {"method": "paired_difference", "dataset": "Spearman, n=300", "metric": metric}
    variant, baseline = _permuted(simulations), naive / simulations
    yield _share(found, simulations, variant=f"{variant}; baseline: raw scores swapped", baseline=baseline, **about)
    yield _share(naive, simulations, variant=f"raw scores swapped, {variant}", baseline=None, **about)


def _differs(statistic: str, a: Columns, b: Columns, seed: int) -> bool:
    first, second = _items(statistic, a), _items(statistic, b)
    return paired_difference([first], [second], resamples=PERMUTATIONS, seed=seed).p_value <= 1 - LEVEL


def _raw_swap(
    a: NDArray[np.float64], b: NDArray[np.float64], target: NDArray[np.float64], generator: Generator
) -> float:
    """P-value of the permutation test that lets raw similarities of two scales change places."""
    count = len(a)
    both = {"score": np.concatenate([a, b]), "target": np.concatenate([target, target])}
    coins = generator.integers(2, size=(PERMUTATIONS, count))
    first = np.arange(count) + count * np.vstack(
        [np.zeros_like(coins[:1]), coins]
    )  # the models as they are, then swaps
    second = (first + count) % (2 * count)
    apart = np.abs(STATISTICS["spearman"](both, first) - STATISTICS["spearman"](both, second))
    return float(np.mean(apart >= apart[0] - 1e-12))


def _items(statistic: str, columns: Columns) -> Items:
    """One simulated test set."""
    ids = tuple(map(str, range(len(columns[next(iter(columns))]))))
    return Items("test", "default", statistic, "item", ids, columns)


def _permuted(simulations: int) -> str:
    return f"{simulations:,} simulations of {PERMUTATIONS} permutations, seed 0"


def _share(hits: int, simulations: int, **about: Any) -> Row:
    """A share of simulations with Wilson's interval."""
    ends = stats.binomtest(hits, simulations).proportion_ci(0.95, method="wilson")
    return Row(value=hits / simulations, low=float(ends.low), high=float(ends.high), seeds=simulations, **about)
