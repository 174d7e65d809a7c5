"""Gradients into an encoder: `fit`, and one file for each published recipe."""
