"""Names of scores and baselines in tables and sentences."""

TITLES = {
    "q9": "Q9",
    "q8": "Q8",
    "q3": "Q3",
    "q3_dssp": "Q3 (dssp)",
    "q3_lift": "Q3 (lift)",
    "macro_f1": "macro-F1",
    "mcc": "MCC",
    "sov99": "SOV'99",
    "sov_refine": "SOV_refine",
    "ece": "ECE",
    "nll": "NLL",
    "brier": "Brier",
}

BASELINE_TITLES = {
    "majority": "majority class",
    "windowed_linear": "windowed linear model",
    "frozen": "frozen backbone with the same head",
}

LEAKY_MARK = "†"
