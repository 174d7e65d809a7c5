"""Classes as subspaces: does more than one direction a class tell intents apart better than their means?

Banking77, 30 rows a class to learn from, and CLINC150, 40; of each class 15 test rows are asked; rows are drawn anew
for each of five seeds. k is the number of directions of a class; 8, the paper's, stands first and was fixed before, and
shall gain 0.03 on Banking77. Baseline: `PrototypeClassifier`; floor: chance. Logistic regression (C = 30, as in
`heads/incremental`) is what a head that is trained on all classes at once reaches.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

from benchmarks.intents import BANKING, CLINC, Intents, intents
from benchmarks.peer import on_cores
from benchmarks.results import Row
from embedkit.evaluation.statistics import over_seeds
from embedkit.heads import PrototypeClassifier, SubspaceClassifier

SEEDS, ASKED, C = 5, 15, 30.0
SHOWN = {BANKING: 30, CLINC: 40}
PROTOTYPES = "prototypes"
ARMS: dict[str, Callable[[], Any]] = {
    **{f"k = {k}": partial(SubspaceClassifier, num_components=k) for k in (8, 2, 4, 16)},
    PROTOTYPES: PrototypeClassifier,
    "logistic regression": partial(LogisticRegression, C=C, max_iter=300),
}


def run(smoke: bool) -> Iterator[Row]:
    """Accuracy by the number of directions."""
    for name, shown in SHOWN.items():
        draws = [intents(name, smoke).drawn(shown, ASKED, seed) for seed in range(2 if smoke else SEEDS)]
        each = [measure(draw) for draw in draws] if smoke else on_cores(measure, draws)
        for arm in ARMS:
            values, base = [one[arm] for one in each], [one[PROTOTYPES] for one in each]
            gain, interval = over_seeds(np.subtract(values, base).tolist()), over_seeds(values)
            yield Row(
                method="classes as subspaces",
                variant=arm if arm == PROTOTYPES else f"{arm}; gain {gain.low:+.3f} to {gain.high:+.3f}",
                dataset=f"{name}, {shown} a class",
                metric="accuracy",
                value=interval.value,
                low=interval.low,
                high=interval.high,
                seeds=len(values),
                baseline=None if arm == PROTOTYPES else float(np.mean(base)),
                floor=1 / draws[0].num_classes,
            )


def measure(draw: Intents) -> dict[str, float]:
    """Accuracy of each arm on one draw of the rows."""
    shown, asked = draw.train, draw.test
    return {
        arm: float(make().fit(shown.vectors, shown.labels).score(asked.vectors, asked.labels))
        for arm, make in ARMS.items()
    }
