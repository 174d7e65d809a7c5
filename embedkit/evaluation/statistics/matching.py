"""The same items of two models, side by side."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from embedkit.errors import InputError
from embedkit.evaluation.items import Items
from embedkit.evaluation.statistics.strata import named, place


def matched(a: Sequence[Items], b: Sequence[Items]) -> list[tuple[Items, Items]]:
    """Parts of both, in one order, the items of the second in the order of the first."""
    parts_a, parts_b = (sorted(parts, key=place) for parts in (a, b))
    places_a, places_b = ([place(part) for part in parts] for parts in (parts_a, parts_b))
    if not a or not b or places_a != places_b:
        first, second = (", ".join(map("/".join, places)) or "none" for places in (places_a, places_b))
        message = (
            f"both models must have items of the same splits and subsets; the first has {first}, the second {second}: "
            "evaluate both on the same, with embedkit, which keeps the items"
        )
        raise InputError(message)
    return [(first, _aligned(first, second)) for first, second in zip(parts_a, parts_b, strict=True)]


def _aligned(a: Items, b: Items) -> Items:
    if a.statistic != b.statistic:
        message = (
            f"{named(a)}: both models must be scored by one statistic; they are by {a.statistic} and {b.statistic}"
        )
        raise InputError(message)
    for part, which in ((a, "first"), (b, "second")):
        if len(set(part.ids)) != len(part.ids) or any(len(values) != len(part) for values in part.columns.values()):
            message = f"{named(a)}: each item must have its own id; the {which} model has {len(part):,} ids, of which "
            message += f"{len(set(part.ids)):,} differ: evaluate it again"
            raise InputError(message)
    if differing := sorted(set(a.ids) ^ set(b.ids)):
        message = (
            f"{named(a)}: both models must be scored on the same items; {len(differing):,} of their ids, such as "
            f"{differing[0]!r}, are in one only: evaluate both on the same data"
        )
        raise InputError(message)
    position = {id: i for i, id in enumerate(b.ids)}
    order = [position[id] for id in a.ids]
    aligned = replace(b, ids=a.ids, columns={name: values[order] for name, values in b.columns.items()})
    _check_columns(a, aligned)
    return aligned


def _check_columns(a: Items, b: Items) -> None:
    shapes_a, shapes_b = ({name: values.shape for name, values in part.columns.items()} for part in (a, b))
    if shapes_a != shapes_b:
        message = (
            f"{named(a)}: both models must have the same columns, in the same shapes; they have {shapes_a} and "
            f"{shapes_b}: evaluate both with the same settings"
        )
        raise InputError(message)
    if "target" in a.columns and (unlike := np.nonzero(a.columns["target"] != b.columns["target"])[0]).size:
        message = (
            f"{named(a)}: both models must be scored against the same targets; {unlike.size:,} differ, such as that "
            f"of {a.ids[unlike[0]]!r}: evaluate both on one revision of the data"
        )
        raise InputError(message)
