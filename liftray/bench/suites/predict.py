"""`predict`: our predictor and Hugging Face's token-classification pipeline, batches of 8 in input order.

Compared: `predictor` with `pipeline`, in residues/s, from sequences to states. Target: 3 times. `forward` is the model
alone inside our predictor: the difference is the cost of cleaning sequences, batching and decoding. The ceiling against
the pipeline counts the padding that it computes; the pipeline loses more by its Python work for each residue.
`products` is the matrix products with the blocks' weights alone, at the rate of the machine: no model of this shape and
precision can be faster.

Invariant: the same backbone, chains and threads for all, each in its own process.
"""

from dataclasses import dataclass
from typing import Any

from liftray.bench import flops
from liftray.bench.bench_report import Row, row
from liftray.bench.suites import contest
from liftray.bench.suites.contest import Contestant, facts, hold, rate

_PIPELINE_BATCH = 8


@dataclass(frozen=True)
class Sizes(contest.Sizes):
    """How much is measured; warm-up passes use a few chains only."""

    chains: int = 1000
    repeats: int = 2


def run(sizes: Sizes) -> tuple[list[Row], dict[str, Any]]:
    """Run the measurement.

    Returns:
        Rows in residues/s, and the further facts that the figures depend on.
    """
    budget = {"tokens_per_batch": sizes.tokens_per_batch}
    contestants = {
        "pipeline": Contestant("pipeline"),
        "predictor": Contestant("predictor", budget),
        "forward": Contestant("forward", budget),
        "products": Contestant("products", budget),
    }
    outcomes = hold("predict", contestants, sizes)
    limit = flops.ceiling_packing([len(each.tokens_L) for each in sizes.encoded()], _PIPELINE_BATCH)
    pipeline = rate("pipeline", outcomes["pipeline"])
    predictor = rate("predictor", outcomes["predictor"], pipeline, limit)
    forward = rate("forward", outcomes["forward"], pipeline, limit)
    products = rate("products", outcomes["products"], pipeline)
    shares = [
        row("predictor_of_forward", predictor.value, contest.RATE, forward, 1.0),
        row("predictor_of_products", predictor.value, contest.RATE, products, 1.0),
    ]
    return [pipeline, predictor, forward, products, *shares], facts(outcomes, sizes)
