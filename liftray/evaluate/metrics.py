"""Scores of a set as functions of per-chain counts: Q9, Q8, Q3, F1, MCC, SOV'99, SOV_refine, NLL, Brier, ECE.

Invariant: every score is a function of columns summed over chains. Plain sums give the score of the set, one row alone
that of a chain, and weighted sums that of a bootstrap resample. So one formula serves all three.
Pure NumPy. Flow: PredictedSet -> [SetStatistics] -> comparison, scores.

What a score means here (fractions, 0-1):
- `q9`, `q8`, `q3`: correct over labelled residues, pooled over the set; `*_chain_mean`: the mean over
  labelled chains. A poorer alphabet's prediction is the most probable class after summing probabilities by
  the map.
- `q3` uses the configured map; ss9 sets also have `q3_dssp` (P is coil) and `q3_lift` (P is helix).
- `macro_f1`: mean over ALL states of the alphabet; a state that is neither true nor predicted anywhere counts
  0, as in scikit-learn's f1_score(labels=all states, average="macro", zero_division=0). So the divisor does
  not depend on the data, and sets that lack a rare state cannot reach 1; `absent_states` of a scored set names
  these states.
- `mcc`: the multi-class Matthews coefficient R_K (Gorodkin, 2004); `mcc:H` that of one state against the rest
  (Matthews, 1975); 0 where undefined.
- `sov99`, `sov_refine`: on the three-state strings by the configured map, for every task, pooled; `sov99:H` that of
  one of the three states. In the task's own alphabet: `sov99_ss9` and, by state, `state_sov99:G`.
- `nll` (nats a residue), `brier` and `ece` of the task's own states, as `calibration` defines them; lower is
  better. The bins of `ece` are those of the whole set, in every resample.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from liftray.data.labels import IGNORE_INDEX, STATES, map_codes, map_probabilities
from liftray.errors import DataError
from liftray.evaluate.calibration import NUM_BINS, confidence_bins, residue_brier, residue_nll
from liftray.evaluate.chains import PredictedSet
from liftray.evaluate.sov import sov_counts

FloatArray = npt.NDArray[np.float64]
Scores = dict[str, FloatArray]

_VIEWS = {
    "ss9": {"q9": "ss9", "q8": "ss8", "q3": "ss3", "q3_dssp": "ss3", "q3_lift": "ss3"},
    "ss8": {"q8": "ss8", "q3": "ss3"},
    "ss3": {"q3": "ss3"},
}
_SOVS = ("sov99", "sov_refine")
LOWER_IS_BETTER = frozenset({"nll", "brier", "ece"})


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
            where the chain has a label); for each accuracy Q `Q` (correct residues) and `Q_chain` (fraction of
            the chain); `ss3_sov99`, `ss3_sov_refine`, `ss3_sov_norm` per three-state class, the same per state
            of a richer task, `sov99_chain`, `sov_refine_chain`; `nll`, `brier` (sums over residues); and
            `bin_residues`, `bin_confidence`, `bin_correct` (sums) by bin of confidence.
    """

    task: str
    ss3_map: str
    ids: tuple[str, ...]
    lengths_N: npt.NDArray[np.int64]
    columns: dict[str, FloatArray]

    @property
    def matrix_NK(self) -> FloatArray:
        """(N, K) all columns side by side."""
        return np.concatenate(list(self.columns.values()), axis=1)

    @property
    def scored_N(self) -> npt.NDArray[np.bool_]:
        """(N,) whether the chain has a labelled residue."""
        return self.columns["scored"][:, 0] > 0

    def subset(self, chosen_N: npt.NDArray[np.bool_]) -> "SetStatistics":
        """The chosen chains alone.

        Args:
            chosen_N: (N,) which to keep.
        """
        ids = tuple(name for name, kept in zip(self.ids, chosen_N, strict=True) if kept)
        columns = {name: column[chosen_N] for name, column in self.columns.items()}
        return replace(self, ids=ids, lengths_N=self.lengths_N[chosen_N], columns=columns)

    def scores(self, sums_SK: FloatArray) -> Scores:
        """All scores of S sums of columns.

        Args:
            sums_SK: (S, K) weighted sums of the rows of `matrix_NK`.

        Returns:
            Name -> (S,) scores; NaN where there was nothing to score. A state follows a colon: `f1:H`.
        """
        edges = np.cumsum([column.shape[1] for column in self.columns.values()])[:-1]
        sums = dict(zip(self.columns, np.split(sums_SK, edges, axis=1), strict=True))
        scores: Scores = {}
        for name in accuracy_names(self.task):
            scores[name] = _ratio(sums[name], sums["labelled"])[:, 0]
            scores[f"{name}_chain_mean"] = _ratio(sums[f"{name}_chain"], sums["scored"])[:, 0]
        states = STATES[self.task]
        scores |= _confusion_scores(sums["confusion"].reshape(-1, len(states), len(states)), states)
        scores |= _sov_scores(sums, self.task)
        for name in ("nll", "brier"):
            scores[name] = _ratio(sums[name], sums["labelled"])[:, 0]
        gap_S = np.abs(sums["bin_correct"] - sums["bin_confidence"]).sum(axis=1)
        scores["ece"] = _ratio(gap_S, sums["labelled"][:, 0])
        return scores


def collect(predicted: PredictedSet) -> SetStatistics:
    """Count what the scores of a set need, chain by chain.

    Raises:
        DataError: The set has no labelled residue.
    """
    num_chains, task = len(predicted.chains), predicted.task
    chain_T, mask_T = predicted.chain_T, predicted.true_T != IGNORE_INDEX
    if not mask_T.any():
        raise DataError("a set without a labelled residue cannot be scored", remedy="give chains with labels")
    labelled_N = np.bincount(chain_T[mask_T], minlength=num_chains).astype(np.float64)
    columns = {"labelled": labelled_N[:, None], "scored": (labelled_N > 0).astype(float)[:, None]}
    columns |= _residue_columns(predicted, mask_T)
    for name in accuracy_names(task):
        true_T, predicted_T = _view(predicted, name)
        correct_T = mask_T & (true_T == predicted_T)
        correct_N = np.bincount(chain_T[correct_T], minlength=num_chains).astype(np.float64)
        columns[name] = correct_N[:, None]
        columns[f"{name}_chain"] = np.nan_to_num(_ratio(correct_N, labelled_N))[:, None]
        alphabet = _VIEWS[task][name]
        if name in ("q3", accuracy_names(task)[0]):
            counts = sov_counts(true_T, predicted_T, chain_T, num_chains, len(STATES[alphabet]))
            sov = {"sov99": counts.sov99_NC, "sov_refine": counts.refine_NC, "sov_norm": counts.norm_NC}
            columns |= {f"{alphabet}_{key}": column for key, column in sov.items()}
    norm_N = columns["ss3_sov_norm"].sum(axis=1)
    for key in _SOVS:
        columns[f"{key}_chain"] = np.nan_to_num(_ratio(columns[f"ss3_{key}"].sum(axis=1), norm_N))[:, None]
    lengths_N = np.bincount(chain_T, minlength=num_chains)
    ids = tuple(chain.id for chain in predicted.chains)
    return SetStatistics(task, predicted.ss3_map, ids, lengths_N, columns)


def _residue_columns(predicted: PredictedSet, mask_T: npt.NDArray[np.bool_]) -> dict[str, FloatArray]:
    """Sums over single residues: the confusion matrix and the columns of calibration."""
    num_chains, num_states = len(predicted.chains), len(STATES[predicted.task])
    true_M, chain_M = predicted.true_T[mask_T], predicted.chain_T[mask_T]
    probabilities_MC = predicted.probabilities_TC[mask_T]
    state_M, confidence_M = probabilities_MC.argmax(axis=1), probabilities_MC.max(axis=1).astype(np.float64)
    bin_M = confidence_bins(confidence_M)

    def by_chain(cell_M: npt.NDArray[np.int64], cells: int, weight_M: FloatArray | None = None) -> FloatArray:
        sums = np.bincount(chain_M * cells + cell_M, weight_M, minlength=num_chains * cells)
        return sums.reshape(num_chains, cells).astype(np.float64)

    single_M = np.zeros_like(true_M)
    return {
        "confusion": by_chain(true_M * num_states + state_M, num_states**2),
        "nll": by_chain(single_M, 1, residue_nll(probabilities_MC, true_M)),
        "brier": by_chain(single_M, 1, residue_brier(probabilities_MC, true_M)),
        "bin_residues": by_chain(bin_M, NUM_BINS),
        "bin_confidence": by_chain(bin_M, NUM_BINS, confidence_M),
        "bin_correct": by_chain(bin_M, NUM_BINS, (state_M == true_M).astype(np.float64)),
    }


def _view(predicted: PredictedSet, name: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """True and predicted codes (T,) in the alphabet and by the map of one accuracy."""
    target, task = _VIEWS[predicted.task][name], predicted.task
    ss3_map = name.partition("_")[2] or predicted.ss3_map
    probabilities = map_probabilities(predicted.probabilities_TC, task, target, ss3_map)
    return map_codes(predicted.true_T, task, target, ss3_map), probabilities.argmax(axis=1)


def _confusion_scores(confusion_SCC: FloatArray, states: str) -> Scores:
    hits_SC = np.diagonal(confusion_SCC, axis1=1, axis2=2)
    true_SC, predicted_SC = confusion_SCC.sum(axis=2), confusion_SCC.sum(axis=1)
    f1_SC = np.nan_to_num(_ratio(2 * hits_SC, true_SC + predicted_SC))
    scores: Scores = {"macro_f1": f1_SC.mean(axis=1), "mcc": _mcc(hits_SC, true_SC, predicted_SC)}
    precision_SC = np.nan_to_num(_ratio(hits_SC, predicted_SC))
    recall_SC = np.nan_to_num(_ratio(hits_SC, true_SC))
    mcc_SC = _state_mcc(hits_SC, true_SC, predicted_SC)
    for column, state in enumerate(states):
        scores[f"precision:{state}"] = precision_SC[:, column]
        scores[f"recall:{state}"] = recall_SC[:, column]
        scores[f"f1:{state}"] = f1_SC[:, column]
        scores[f"mcc:{state}"] = mcc_SC[:, column]
    return scores


def _sov_scores(sums: Scores, task: str) -> Scores:
    scores: Scores = {}
    norm_SC = sums["ss3_sov_norm"]
    for key in _SOVS:
        scores[key] = _ratio(sums[f"ss3_{key}"].sum(axis=1), norm_SC.sum(axis=1))
        scores[f"{key}_chain_mean"] = _ratio(sums[f"{key}_chain"], sums["scored"])[:, 0]
        for column, state in enumerate(STATES["ss3"]):
            scores[f"{key}:{state}"] = _ratio(sums[f"ss3_{key}"][:, column], norm_SC[:, column])
        own_SC, own_norm_SC = sums[f"{task}_{key}"], sums[f"{task}_sov_norm"]
        if task != "ss3":
            scores[f"{key}_{task}"] = _ratio(own_SC.sum(axis=1), own_norm_SC.sum(axis=1))
        for column, state in enumerate(STATES[task]):
            scores[f"state_{key}:{state}"] = _ratio(own_SC[:, column], own_norm_SC[:, column])
    return scores


def _mcc(hits_SC: FloatArray, true_SC: FloatArray, predicted_SC: FloatArray) -> FloatArray:
    total_S = true_SC.sum(axis=1)
    covariance_S = hits_SC.sum(axis=1) * total_S - (true_SC * predicted_SC).sum(axis=1)
    spread_true_S = total_S**2 - (true_SC**2).sum(axis=1)
    spread_predicted_S = total_S**2 - (predicted_SC**2).sum(axis=1)
    return np.nan_to_num(_ratio(covariance_S, np.sqrt(spread_true_S) * np.sqrt(spread_predicted_S)))


def _state_mcc(hits_SC: FloatArray, true_SC: FloatArray, predicted_SC: FloatArray) -> FloatArray:
    """Matthews' coefficient of each state against all others: (S, C)."""
    total_S1 = true_SC.sum(axis=1, keepdims=True)
    spread_true_SC = true_SC * (total_S1 - true_SC)
    spread_predicted_SC = predicted_SC * (total_S1 - predicted_SC)
    covariance_SC = hits_SC * total_S1 - true_SC * predicted_SC
    return np.nan_to_num(_ratio(covariance_SC, np.sqrt(spread_true_SC) * np.sqrt(spread_predicted_SC)))


def _ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """Divide elementwise; NaN where there is nothing to divide by."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(denominator > 0, numerator / denominator, np.nan)
