"""The temperature of a model: the number that its logits are divided by.

Invariant: it is positive and finite. Used by bundle (members of an ensemble) and predictor.
"""

import math
from collections.abc import Mapping
from typing import Any

from liftray.errors import BundleError


def temperature_of(info: Mapping[str, Any]) -> float:
    """Read the temperature from `bundle.json`; 1 where it is absent.

    Args:
        info: The content of `bundle.json`.

    Raises:
        BundleError: The temperature is not a positive number.
    """
    value = (info.get("calibration") or {}).get("temperature", 1.0)
    if not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        raise BundleError(f"calibration.temperature is {value!r}, not a positive number", where="bundle.json")
    return float(value)
