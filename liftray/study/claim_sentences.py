"""The answers of a study's claims in sentences that say no more than was shown.

Flow: claims -> [this] -> findings.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from liftray.reporting.tables import p_value, points, points_between

Row = Mapping[str, Any]


def hypothesis(kind: str, null: float) -> str:
    """What a claim requires in addition to a difference.

    Args:
        kind: As in `study.claims`.
        null: The difference that must be exceeded, a fraction.
    """
    return {
        "better": "",
        "better_by": f", requiring more than {amount(null)}",
        "not_worse": f", allowing a loss of {amount(-null)}",
    }[kind]


def comparisons(speaker: str, num_arms: int, rows: Sequence[Row], verdicts: Sequence[str]) -> str:
    """The deciding comparisons of the arm that represents a claim's arms.

    Args:
        speaker: That arm.
        num_arms: How many arms it was chosen from.
        rows: Its comparisons, one for each arm that it is compared with.
        verdicts: One for each row.
    """
    chosen = f"{speaker}, the best of {num_arms} on validation," if num_arms > 1 else speaker
    parts = [
        f"{points(row['difference'])} points against {row['than']} ({points_between(row['ci95'])} over chains, "
        f"{points_between(row['seeds_ci95'])} over seeds and chains, corrected p {p_value(row['p_corrected'])}): "
        f"{verdict}"
        for row, verdict in zip(rows, verdicts, strict=True)
    ]
    return f"{chosen} has {'; '.join(parts)}"


def sweep(first: str, start: str, deepest: str | None, row: Row | None, *, on: str, margin: float) -> str:
    """How far down a sweep is shown to lose no more than the margin.

    Args:
        first: The first arm of the sweep.
        start: The arm that is best on validation.
        deepest: The last arm of the unbroken run of those not worse; None where there is none.
        row: Its comparison on the deciding set.
        on: The deciding set.
        margin: The loss that is allowed, a fraction.
    """
    best = f"{start}, best on validation,"
    if row is None or deepest is None:
        if start == first:
            return f"On {on}, no step below {best} is shown to lose at most {amount(margin)}."
        return f"On {on}, {best} is not shown to lose at most {amount(margin)} against {first}."
    shown = (
        f"{points(row['difference'])} ({points_between(row['ci95'])} over chains, "
        f"{points_between(row['seeds_ci95'])} over seeds and chains)"
    )
    if deepest == start:
        return f"On {on}, {best} loses at most {amount(margin)} against {first}: {shown}; no step below it is shown to."
    return f"On {on}, one can go from {best} down to {deepest} without losing more than {amount(margin)}: {shown}."


def amount(margin: float) -> str:
    """A margin in words."""
    return f"{100 * margin:g} point{'' if margin == 0.01 else 's'}"
