"""How NetSurfP tells states, which its CSV and JSON readers count on: order of the classes and the letter of
coil.

Invariant: q3 and q8 stand in NetSurfP's order with coil as `C`; q9, which NetSurfP lacks, stands in LiftRay's
own order and letters (coil `L`). Used by csv_table and json_document.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from liftray.data.labels import STATES
from liftray.predict.prediction import ModelStamp, Prediction
from liftray.predict.writers.base import in_order

# LiftRay's states in NetSurfP's order of columns.
_ORDER = {"ss3": "HEC", "ss8": "GHIBESTL", "ss9": STATES["ss9"]}


class Told(NamedTuple):
    """One alphabet's view of a prediction: (L,) states and (L, C) probabilities in the order of `classes`."""

    states: str
    probabilities_LC: npt.NDArray[np.float32]


def classes(stamp: ModelStamp) -> dict[str, str]:
    """Column stem (`q3`, `q8`, `q9`) -> letters of its classes in order, poorest alphabet first."""
    return {_stem(alphabet): _letters(_ORDER[alphabet], alphabet) for alphabet in stamp.alphabets}


def tell(prediction: Prediction, stamp: ModelStamp) -> dict[str, Told]:
    """The prediction in each of the alphabets of `classes`, probabilities summed by the model's own map."""
    told = {}
    for alphabet in stamp.alphabets:
        view = prediction.mapped(alphabet, stamp.ss3_map)
        columns_LC = in_order(view.probabilities_LC, alphabet, _ORDER[alphabet])
        told[_stem(alphabet)] = Told(_letters(view.states, alphabet), columns_LC)
    return told


def _stem(alphabet: str) -> str:
    return alphabet.replace("ss", "q")


def _letters(states: str, alphabet: str) -> str:
    return states.replace("L", "C") if alphabet == "ss8" else states
