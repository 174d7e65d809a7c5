"""What is fitted on vectors that no longer change: scikit-learn estimators, kept without pickle."""

from embedkit.heads.ridge_aligner import RidgeAligner
from embedkit.heads.zero_shot import ZeroShotClassifier

__all__ = ["RidgeAligner", "ZeroShotClassifier"]
