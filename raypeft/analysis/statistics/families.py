"""Corrections for the number of comparisons.

    holm([0.01, 0.04, 0.03])            # within one family: the chance of even one false finding stays below 5 %

With twenty comparisons of trials that do not differ, one p-value below 0.05 is what chance gives.
"""

from collections.abc import Sequence

import numpy as np


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values, in the order given (Holm 1979, Scandinavian Journal of Statistics 6, 65-70)."""
    order = np.argsort(p_values, kind="stable")
    adjusted = [0.0] * len(order)
    largest = 0.0
    for place, index in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - place) * p_values[index]))
        adjusted[index] = largest
    return adjusted
