"""Items of every statistic."""

import numpy as np

from embedkit.evaluation.items import Items

MOST = 60


def items(statistic, subset="default", ids=None, **columns):
    columns = {name: np.asarray(values, dtype=np.float64) for name, values in columns.items()}
    count = len(next(iter(columns.values())))
    return Items("test", subset, statistic, "pair", tuple(ids or map(str, range(count))), columns)


def columns_for(statistic, generator, n=MOST):
    """Columns with ties, so that ties are tested everywhere."""
    if statistic == "mean":
        return {"score": generator.integers(5, size=(n, 3)) / 4}
    if statistic in {"accuracy", "f1"}:
        target = generator.integers(4, size=n).astype(float)
        guesses = generator.integers(6, size=(n, 3))
        return {"prediction": np.where(generator.random((n, 3)) < 0.5, target[:, None], guesses), "target": target}
    target = generator.integers(2 if statistic in {"auc", "average_precision"} else 6, size=n).astype(float)
    return {"score": np.round(generator.normal(size=n) + target / 2, 1), "target": target}
