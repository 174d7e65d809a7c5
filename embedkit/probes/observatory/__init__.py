"""Eight properties that vectors of tables may have, each measured beside what chance gives: the Observatory.

One function a property, each from an encoder and data to a `Finding`; `report` measures all of them.
"""

from embedkit.probes.observatory.column_order import column_order
from embedkit.probes.observatory.entity_stability import entity_stability
from embedkit.probes.observatory.finding import Estimate, Finding, Line
from embedkit.probes.observatory.functional_dependencies import dependency_translation
from embedkit.probes.observatory.heterogeneous_context import heterogeneous_context
from embedkit.probes.observatory.join_relationship import ColumnPair, column_pairs, graded_pairs, join_relationship
from embedkit.probes.observatory.perturbation import Renamed, perturbation_robustness, renamed_columns
from embedkit.probes.observatory.report import Report, report
from embedkit.probes.observatory.row_order import row_order
from embedkit.probes.observatory.sample_fidelity import sample_fidelity

__all__ = [
    "ColumnPair",
    "Estimate",
    "Finding",
    "Line",
    "Renamed",
    "Report",
    "column_order",
    "column_pairs",
    "dependency_translation",
    "entity_stability",
    "graded_pairs",
    "heterogeneous_context",
    "join_relationship",
    "perturbation_robustness",
    "renamed_columns",
    "report",
    "row_order",
    "sample_fidelity",
]
