"""Evaluation: tasks on mteb's evaluators, scores with intervals, comparisons in words, reports, checks."""
