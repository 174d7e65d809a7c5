"""Pieces of a forward pass: sentence-transformers `Module`s, from a dictionary of features to one."""
