"""Gradients into an encoder: `fit`, and one file for each published recipe."""

from embedkit.optional import require

for _package in ("datasets", "accelerate"):
    require(_package, extra="train")
