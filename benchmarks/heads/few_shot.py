"""Few-shot classes that come later: what TEEN's calibration brings them, and what the classes before pay for it.

CLINC150: 90 classes with 40 rows each, then 60 with five rows each; Banking77: 47 with 30 rows, then 30 with five. Of
each class 15 test rows are asked among all classes; which classes come later, and which rows, is drawn anew for each of
ten seeds. `PrototypeClassifier(calibration=0.3, calibration_temperature=1/16)`, settings that were fixed before; the
baseline is the same without calibration, the floor chance. The harmonic mean of the accuracies of base and new classes
shall rise by 0.01 or more.
"""

from collections.abc import Iterator

import numpy as np

from benchmarks.intents import BANKING, CLINC, intents
from benchmarks.results import Row
from embedkit.evaluation.incremental import IncrementalResult, class_tasks, evaluate_incremental
from embedkit.evaluation.statistics import over_seeds
from embedkit.heads import PrototypeClassifier

SEEDS, SHOTS, ASKED = 10, 5, 15
NEW_CLASSES = {CLINC: (60, 40), BANKING: (30, 30)}
CALIBRATION = 0.3
METRICS = {"harmonic mean": "harmonic_mean", "new": "new", "base": "base"}


def run(smoke: bool) -> Iterator[Row]:
    """Accuracies of base and new classes, and their harmonic mean, with calibration and without."""
    for name, (new, shown) in NEW_CLASSES.items():
        seeds = range(2 if smoke else SEEDS)
        found = {
            share: [measure(name, new, shown, share, seed, smoke) for seed in seeds] for share in (CALIBRATION, 0.0)
        }
        classes = intents(name, smoke).num_classes
        for share, several in found.items():
            for metric, attribute in METRICS.items():
                values = [getattr(one, attribute) for one in several]
                without = [getattr(one, attribute) for one in found[0.0]]
                gain = over_seeds(np.subtract(values, without).tolist())
                interval = over_seeds(values)
                told = f"TEEN {share:g}; gain {gain.low:+.3f} to {gain.high:+.3f}" if share else "no calibration"
                yield Row(
                    method="few-shot new classes",
                    variant=told,
                    dataset=name,
                    metric=f"{metric}, {SHOTS}-shot",
                    value=interval.value,
                    low=interval.low,
                    high=interval.high,
                    seeds=len(several),
                    baseline=float(np.mean(without)) if share else None,
                    floor=1 / classes,
                )


def measure(name: str, new: int, shown: int, share: float, seed: int, smoke: bool) -> IncrementalResult:
    """One draw of the classes and rows: base classes first, then the others with few rows."""
    data = intents(name, smoke)
    new = data.num_classes // 3 if smoke else new
    order = np.concatenate(class_tasks(data.train.labels, 1, seed=seed))
    base, later = order[new:].tolist(), order[:new].tolist()
    tasks = [data.of(base).drawn(shown, ASKED, seed).task, data.of(later).drawn(SHOTS, ASKED, seed).task]
    return evaluate_incremental(PrototypeClassifier(calibration=share), tasks)
