"""Which of two models is better, on which tasks, and what cannot be told: in numbers and in words."""

from embedkit.evaluation.compare.comparison import Comparison, TaskComparison, Verdict
from embedkit.evaluation.compare.tested import Question, compare, compare_all

__all__ = ["Comparison", "Question", "TaskComparison", "Verdict", "compare", "compare_all"]
