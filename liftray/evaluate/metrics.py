"""Scores of a set as functions of per-chain counts: Q9, Q8, Q3, F1, MCC, SOV'99.

Invariant: every score is a function of columns summed over chains. Summed as they are, they give the score of
the set; one row alone gives a chain's; weighted, a bootstrap resample's. So one formula serves all three.
Pure NumPy. Flow: PredictedSet -> [SetStatistics] -> bootstrap, report.

What a score means here (fractions, 0-1):
- `q9`, `q8`, `q3`: correct over labelled residues, pooled over the set; `*_chain_mean`: the mean over
  labelled chains. A poorer alphabet's prediction is the most probable class after summing probabilities by
  the map.
- `q3` goes by the configured map; ss9 sets have `q3_dssp` (P is coil) and `q3_lift` (P is helix) beside it.
- `macro_f1`: mean over ALL states of the alphabet; a state that is neither true nor predicted anywhere counts
  0, as in scikit-learn's f1_score(labels=all states, average="macro", zero_division=0). So the divisor never
  depends on the data, and sets that lack a rare state cannot reach 1; `absent_states` of a scored set names
  these.
- `mcc`: the multi-class Matthews coefficient R_K (Gorodkin, 2004); 0 where undefined.
- `sov99`: on the three-state strings by the configured map, for every task, pooled.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from liftray.data.labels import IGNORE_INDEX, STATES, map_codes, map_probabilities
from liftray.errors import DataError
from liftray.evaluate.chains import PredictedSet
from liftray.evaluate.sov import sov_counts

FloatArray = npt.NDArray[np.float64]
Scores = dict[str, FloatArray]

_VIEWS = {
    "ss9": {"q9": "ss9", "q8": "ss8", "q3": "ss3", "q3_dssp": "ss3", "q3_lift": "ss3"},
    "ss8": {"q8": "ss8", "q3": "ss3"},
    "ss3": {"q3": "ss3"},
}


def accuracy_names(task: str) -> tuple[str, ...]:
    """The accuracies a task allows, richest alphabet first."""
    return tuple(_VIEWS[task])


@dataclass(frozen=True)
class SetStatistics:
    """Per-chain columns from which all scores of a set follow.

    Attributes:
        task: Alphabet of the set.
        ss3_map: The configured map to three states.
        ids: (N,) chain names.
        lengths_N: (N,) residues of each chain, labelled or not.
        columns: Name -> (N, K) columns: `confusion` (true x predicted, flattened), `labelled`, `scored` (1
            where the chain has a label), `sov` and `sov_norm` per three-state class, `sov_chain`, and for
            each accuracy Q `Q` (correct residues) and `Q_chain` (fraction of the chain).
    """

    task: str
    ss3_map: str
    ids: tuple[str, ...]
    lengths_N: npt.NDArray[np.int64]
    columns: dict[str, FloatArray]

    @property
    def matrix_NK(self) -> FloatArray:  # noqa: N802 - shape suffix
        """(N, K) all columns side by side."""
        return np.concatenate(list(self.columns.values()), axis=1)

    @property
    def scored_N(self) -> npt.NDArray[np.bool_]:  # noqa: N802 - shape suffix
        """(N,) whether the chain has a labelled residue."""
        return self.columns["scored"][:, 0] > 0

    def scores(self, sums_RK: FloatArray) -> Scores:
        """All scores of R sums of columns.

        Args:
            sums_RK: (R, K) weighted sums of the rows of `matrix_NK`.

        Returns:
            Name -> (R,) scores; NaN where nothing was there to score. States stand behind a colon: `f1:H`.
        """
        edges = np.cumsum([column.shape[1] for column in self.columns.values()])[:-1]
        sums = dict(zip(self.columns, np.split(sums_RK, edges, axis=1), strict=True))
        scores: Scores = {}
        for name in accuracy_names(self.task):
            scores[name] = _ratio(sums[name], sums["labelled"])[:, 0]
            scores[f"{name}_chain_mean"] = _ratio(sums[f"{name}_chain"], sums["scored"])[:, 0]
        states = STATES[self.task]
        scores |= _confusion_scores(sums["confusion"].reshape(-1, len(states), len(states)), states)
        scores["sov99"] = _ratio(sums["sov"].sum(axis=1), sums["sov_norm"].sum(axis=1))
        scores["sov99_chain_mean"] = _ratio(sums["sov_chain"], sums["scored"])[:, 0]
        for column, state in enumerate(STATES["ss3"]):
            scores[f"sov99:{state}"] = _ratio(sums["sov"][:, column], sums["sov_norm"][:, column])
        return scores


def collect(predicted: PredictedSet) -> SetStatistics:
    """Count everything the scores of a set need, chain by chain.

    Raises:
        DataError: The set has no labelled residue.
    """
    num_chains, task = len(predicted.chains), predicted.task
    true_T, chain_T, mask_T = predicted.true_T, predicted.chain_T, predicted.true_T != IGNORE_INDEX
    if not mask_T.any():
        raise DataError("a set without a labelled residue cannot be scored", remedy="give chains with labels")
    labelled_N = np.bincount(chain_T[mask_T], minlength=num_chains).astype(np.float64)
    num_states = len(STATES[task])
    cell_M = (chain_T * num_states + true_T)[mask_T] * num_states + predicted.probabilities_TC.argmax(1)[
        mask_T
    ]
    columns = {
        "confusion": np.bincount(cell_M, minlength=num_chains * num_states**2)
        .reshape(num_chains, -1)
        .astype(float),
        "labelled": labelled_N[:, None],
        "scored": (labelled_N > 0).astype(float)[:, None],
    }
    for name in accuracy_names(task):
        view_true_T, view_predicted_T = _view(predicted, name)
        correct_T = mask_T & (view_true_T == view_predicted_T)
        correct_N = np.bincount(chain_T[correct_T], minlength=num_chains).astype(np.float64)
        columns[name] = correct_N[:, None]
        columns[f"{name}_chain"] = np.nan_to_num(_ratio(correct_N, labelled_N))[:, None]
        if name == "q3":
            columns["sov"], columns["sov_norm"] = sov_counts(
                view_true_T, view_predicted_T, chain_T, num_chains, len(STATES["ss3"])
            )
            chain_sov_N = _ratio(columns["sov"].sum(axis=1), columns["sov_norm"].sum(axis=1))
            columns["sov_chain"] = np.nan_to_num(chain_sov_N)[:, None]
    lengths_N = np.bincount(chain_T, minlength=num_chains)
    ids = tuple(chain.id for chain in predicted.chains)
    return SetStatistics(task, predicted.ss3_map, ids, lengths_N, columns)


def _view(predicted: PredictedSet, name: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """True and predicted codes (T,) in the alphabet and by the map of one accuracy."""
    target, task = _VIEWS[predicted.task][name], predicted.task
    ss3_map = name.partition("_")[2] or predicted.ss3_map
    probabilities = map_probabilities(predicted.probabilities_TC, task, target, ss3_map)
    return map_codes(predicted.true_T, task, target, ss3_map), probabilities.argmax(axis=1)


def _confusion_scores(confusion_RCC: FloatArray, states: str) -> Scores:
    hits_RC = np.diagonal(confusion_RCC, axis1=1, axis2=2)
    true_RC, predicted_RC = confusion_RCC.sum(axis=2), confusion_RCC.sum(axis=1)
    f1_RC = np.nan_to_num(_ratio(2 * hits_RC, true_RC + predicted_RC))
    scores: Scores = {"macro_f1": f1_RC.mean(axis=1), "mcc": _mcc(hits_RC, true_RC, predicted_RC)}
    precision_RC = np.nan_to_num(_ratio(hits_RC, predicted_RC))
    recall_RC = np.nan_to_num(_ratio(hits_RC, true_RC))
    for column, state in enumerate(states):
        scores[f"precision:{state}"] = precision_RC[:, column]
        scores[f"recall:{state}"] = recall_RC[:, column]
        scores[f"f1:{state}"] = f1_RC[:, column]
    return scores


def _mcc(hits_RC: FloatArray, true_RC: FloatArray, predicted_RC: FloatArray) -> FloatArray:
    total_R = true_RC.sum(axis=1)
    covariance_R = hits_RC.sum(axis=1) * total_R - (true_RC * predicted_RC).sum(axis=1)
    spread_true_R = total_R**2 - (true_RC**2).sum(axis=1)
    spread_predicted_R = total_R**2 - (predicted_RC**2).sum(axis=1)
    return np.nan_to_num(_ratio(covariance_R, np.sqrt(spread_true_R) * np.sqrt(spread_predicted_R)))


def _ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """Divide elementwise; NaN where there is nothing to divide by."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(denominator > 0, numerator / denominator, np.nan)
