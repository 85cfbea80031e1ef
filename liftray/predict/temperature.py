"""The temperature of a model: the number that its logits are divided by.

Invariant: it is positive and finite. Used by bundle (members of an ensemble) and predictor.
"""

import math
from collections.abc import Mapping
from typing import Any

from liftray.errors import BundleError

_LARGEST = 1e6


def temperature_of(info: Mapping[str, Any]) -> float:
    """Read the temperature from `bundle.json`; 1 where it is absent.

    Args:
        info: The content of `bundle.json`.

    Raises:
        BundleError: The temperature is not a positive number.
    """
    calibration = info.get("calibration") or {}
    value = calibration.get("temperature", 1.0) if isinstance(calibration, Mapping) else calibration
    # Compared first: `isfinite` fails on an integer that no float can hold.
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 < value < _LARGEST or not math.isfinite(value):
        raise BundleError(
            f"calibration.temperature is {value!r:.40}, not a positive number", where="bundle.json"
        )
    return float(value)
