"""What is fitted on vectors that no longer change: scikit-learn estimators, kept without pickle."""

from embedkit.heads.ridge_aligner import RidgeAligner

__all__ = ["RidgeAligner"]
