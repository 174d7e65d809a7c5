"""Does an encoder do what every user takes for granted? Thirteen checks that any checkpoint must pass.

None of them asks whether the vectors are good, only whether they are the vectors of their inputs: whatever stands
beside an input, in whatever order, thread or process, at every depth and width, and however odd the input is.
"""

from embedkit.evaluation.check.finding import Finding
from embedkit.evaluation.check.suite import CHECKS, check

__all__ = ["CHECKS", "Finding", "check"]
