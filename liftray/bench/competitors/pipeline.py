"""Baseline (p): Hugging Face's own token-classification pipeline, batches of 8 in input order.

Invariant: this is the real pipeline with the real ESM tokenizer, and a model of the same backbone with a linear head.
It returns a state and a score for each residue. Joining these to a string is not timed.
"""

import time

from transformers import pipeline

from liftray.bench.competitors import models
from liftray.bench.workload import WARM_CHAINS, Timing, Workload

BATCH = 8


def run(workload: Workload) -> Timing:
    """Predict; a pass is once over all chains, one that warms up over the first few.

    Args:
        workload: What is compared; bfloat16 is the model cast to it.

    Returns:
        Seconds of each pass, tokenising included; the predicted states as `states` in its details.
    """
    model = models.classifier(workload).eval()
    if workload.precision == "bfloat16":
        model = model.bfloat16()
    predict = pipeline(
        "token-classification",
        model=model,
        tokenizer=models.tokenizer(workload),
        device=workload.device,
        batch_size=BATCH,
    )
    sequences = [sequence for _, sequence, _ in workload.drawn()]
    seconds, results = [], []
    for number in range(workload.warmup + workload.repeats):
        start = time.perf_counter()
        results = predict(sequences[:WARM_CHAINS] if number < workload.warmup else sequences)
        seconds.append(time.perf_counter() - start)
    states = ["".join(residue["entity"] for residue in result) for result in results]
    return Timing(sum(map(len, sequences)), seconds[workload.warmup :], {"batch": BATCH, "states": states})
