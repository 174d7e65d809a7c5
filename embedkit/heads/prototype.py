"""Classes by their means: one vector a class, any class at any time."""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.preprocessing import normalize
from sklearn.utils import gen_batches

from embedkit.errors import InputError
from embedkit.heads.additive import AdditiveClassifier, class_means
from embedkit.heads.scoring import Rows, check_positive, products

_ROWS = 16384


class PrototypeClassifier(AdditiveClassifier):
    """Nearest class mean (SimpleCIL), to which classes may be added at any time; TEEN moves those that came later.

        prototypes_c = norm( mean over rows x of class c of norm(x) )
        p(c | x) = softmax_c( cos(x, prototypes_c) / temperature )

    with calibration > 0, of each class c that is none of the base classes b:

        prototypes_c ← norm( (1 − calibration) prototypes_c
                             + calibration norm( Σ_b softmax_b(prototypes_c·prototypes_b / calibration_temperature)
                                                 prototypes_b ) )

    A class of few rows has an unsure mean; TEEN leans it towards the base classes it resembles. The base classes pay
    for it: they lose what the new ones gain back, one to three points of accuracy for a higher harmonic mean.

    Args:
        metric: "cosine", or "euclidean": then prototypes are the means of the rows themselves, and
            −‖x − prototypes_c‖² stands where the cosine does.
        temperature: What scores are divided by, above 0: how sure probabilities are, not which class wins.
        calibration: How far later classes are moved, 0 (not at all) … 1; by cosine only.
        calibration_temperature: Above 0; the lower, the more the one nearest base class counts.
        base_classes: The classes that TEEN leans on; None for those of the first call.

    Attributes:
        classes_: (classes,), sorted.
        counts_: How many rows of each class were seen, or what they weighed, (classes,).
        means_: Mean of the rows of each class, at length 1 unless Euclidean, (classes, width), as precise as X.
        base_: Whether each is a base class, (classes,).

    Example:
        >>> classifier = PrototypeClassifier().fit([[1.0, 0.0], [0.0, 1.0]], ["right", "up"])
        >>> classifier.partial_fit([[-1.0, 0.0]], ["left"]).predict([[2.0, 1.0], [-9.0, 1.0]]).tolist()
        ['right', 'left']

    Reference:
        D.-W. Zhou et al., "Revisiting Class-Incremental Learning with Pre-Trained Models: Generalizability and
        Adaptivity are All You Need", arXiv 2303.07338, 2023, for the means (SimpleCIL); Q.-W. Wang et al., "Few-Shot
        Class-Incremental Learning via Training-Free Prototype Calibration", NeurIPS 2023, Eq. 4 to 6, for TEEN.

    Deviations:
        Rows are brought to length 1 before the mean, so that a long vector counts no more than others where cosines
        decide; the authors average them as they are. TEEN's default for `calibration` is .3 of the paper's .1 to .5.
    """

    _per_class: ClassVar[tuple[str, ...]] = ("counts_", "means_", "base_")

    def __init__(
        self,
        *,
        metric: Literal["cosine", "euclidean"] = "cosine",
        temperature: float = 0.05,
        calibration: float = 0.0,
        calibration_temperature: float = 1 / 16,
        base_classes: Sequence[Any] | None = None,
    ) -> None:
        self.metric = metric
        self.temperature = temperature
        self.calibration = calibration
        self.calibration_temperature = calibration_temperature
        self.base_classes = base_classes

    @property
    def prototypes_(self) -> NDArray[np.float64]:
        """What rows are compared with, (classes, width); zeros for a class without rows."""
        means = np.asarray(self.means_, dtype=np.float64)
        if self.metric == "euclidean":
            return means
        prototypes: NDArray[np.float64] = normalize(means)
        seen = self.counts_ > 0
        base, later = prototypes[self.base_ & seen], ~self.base_ & seen
        if self.calibration and len(base) and later.any():
            new = prototypes[later]
            towards = normalize(softmax(products(new, base) / self.calibration_temperature, axis=1) @ base)
            prototypes[later] = normalize((1 - self.calibration) * new + self.calibration * towards)
        return prototypes

    def _check_arguments(self) -> None:
        if self.metric not in ("cosine", "euclidean"):
            raise InputError(f'metric must be "cosine" or "euclidean"; received {self.metric!r:.100}')
        check_positive("temperature", self.temperature)
        check_positive("calibration_temperature", self.calibration_temperature)
        share = self.calibration
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
            raise InputError(f"calibration must be 0 … 1; received {share!r:.100}")
        if share and self.metric != "cosine":
            raise InputError('calibration is by cosine; received metric="euclidean": take metric="cosine"')

    def _start(self, rows: Rows) -> None:
        self.means_ = np.zeros((0, rows.shape[1]), rows.dtype)
        self.base_ = np.zeros(0, bool)

    def _add(self, rows: Rows, codes: NDArray[np.int64], weights: NDArray[np.float64]) -> None:
        first = not self.counts_.any()
        for part in gen_batches(len(rows), _ROWS):
            units = normalize(rows[part]) if self.metric == "cosine" else rows[part]
            class_means(units, codes[part], weights[part]).merge(self.counts_, self.means_)
        if self.base_classes is not None:
            self.base_ = np.isin(self.classes_, np.asarray(self.base_classes))
        elif first:
            self.base_ = self.counts_ > 0

    def _scores(self, rows: Rows) -> NDArray[np.float64]:
        prototypes = self.prototypes_
        if self.metric == "cosine":
            scores = products(normalize(rows), prototypes)
        else:
            wide = np.asarray(rows, dtype=np.float64)  # what is left of large squares is small
            lengths = np.square(wide).sum(axis=1, keepdims=True)
            scores = 2 * products(wide, prototypes) - np.square(prototypes).sum(axis=1) - lengths
        scores[:, self.counts_ == 0] = -np.inf
        return scores / self.temperature
