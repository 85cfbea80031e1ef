"""Correction of p-values for several comparisons.

Among many comparisons a small p-value is expected by chance. Flow: p-values -> [this] -> evaluate, study.
"""

from collections.abc import Sequence


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust the p-values of several comparisons (Holm, Scandinavian Journal of Statistics 6:65, 1979).

    The i-th smallest of m is multiplied by m - i + 1, never falls below the one before it, and is at most 1. Where an
    adjusted value is below 0.05, that comparison is significant while the chance of any false claim among all of them
    is 5 %. This holds however the comparisons depend on each other.

    Args:
        p_values: One for each comparison.

    Returns:
        The adjusted ones, in the order given.

    Examples:
        >>> [round(p, 3) for p in holm([0.4, 0.01, 0.02])]
        [0.4, 0.03, 0.04]
    """
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, at in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[at]))
        adjusted[at] = largest
    return adjusted
