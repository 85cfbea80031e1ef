from liftray.track.mlflow.card import card

BUNDLE = {
    "task": "ss3",
    "alphabet": "ss3",
    "ss3_map": "dssp",
    "backbone": {
        "name": "ESM-2 8M",
        "family": "esm",
        "digest": "f421",
        "licence": "MIT",
        "note": "fine-tuned copy",
    },
    "adapter": {"kind": "bottleneck", "reduction_factor": 16},
    "data": {"train": {"big": "d1"}, "valid": {"small": "d2"}},
    "metrics": {"valid": {"q3": 0.81234, "q3_ci95": [0.8, 0.825], "num_chains": 12}, "CASP12": {"q3": 0.7}},
    "leakage": {"valid": {"share": 0.0, "leaky": False}, "CASP12": {"share": 0.17, "leaky": True}},
}


def test_the_card_has_scores_data_licence_and_limits() -> None:
    text = card(BUNDLE)
    assert "| valid | 12 | 81.23 [80.00, 82.50] | 0.0 |" in text
    assert "| CASP12 | - | 70.00 | 17.0 (leaky: not to be trusted) |" in text
    assert "| train | big | `d1` |" in text
    assert "- Backbone: MIT" in text
    assert "fine-tuned copy" in text
    assert "kind bottleneck, reduction_factor 16" in text
    assert "## Limits" in text


def test_what_is_not_known_is_said() -> None:
    text = card({"task": "ss8"})
    assert "No scores were given." in text
    assert "Not recorded." in text
    assert "Backbone: not known" in text


def test_given_metrics_come_first() -> None:
    assert "50.00" in card(BUNDLE, {"valid": {"q3": 0.5}})
    assert "| other | - | 50.00 | not measured |" in card(BUNDLE, {"other": {"q3": 0.5}})


def test_text_from_outside_cannot_break_the_table() -> None:
    text = card({**BUNDLE, "data": {"test": {"a|b\n# c <img src=x>": "d`"}}})
    assert "| test | a\\|b # c \\<img src=x> | `d\\``" in text
