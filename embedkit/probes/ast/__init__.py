"""How much of a syntax tree the vectors of its tokens hold: AST-Probe."""

from embedkit.probes.ast.probe import AstProbe, AstScore, ast_probe, floor_scores, layer_score
from embedkit.probes.ast.subspace import AstSubspace, TreeReader, fit_subspace
from embedkit.probes.ast.vectors import LeafVectors, leaf_vectors, random_layers

__all__ = [
    "AstProbe",
    "AstScore",
    "AstSubspace",
    "LeafVectors",
    "TreeReader",
    "ast_probe",
    "fit_subspace",
    "floor_scores",
    "layer_score",
    "leaf_vectors",
    "random_layers",
]
