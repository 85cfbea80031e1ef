"""The views of a prediction that tables show: the model's own alphabet, and those with fewer states.

Invariant: probabilities are in the order of `STATES[alphabet]`, the one order of LiftRay's own formats.
Used by csv_table, json_document, parquet and netsurfp.
"""

from liftray.predict.prediction import ModelStamp, Prediction


def views(prediction: Prediction, stamp: ModelStamp) -> dict[str, Prediction]:
    """Give the prediction in each alphabet of the model.

    Args:
        prediction: A prediction of the model.
        stamp: The model.

    Returns:
        Column name -> prediction: `ss` in the model's own alphabet, then `ss8` and `ss3` where the model has more
        states. The probabilities of the latter are sums over the model's map.
    """
    reduced = {alphabet: prediction.mapped(alphabet, stamp.ss3_map) for alphabet in stamp.reduced}
    return {"ss": prediction, **reduced}
