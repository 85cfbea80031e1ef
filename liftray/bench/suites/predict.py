"""`predict`: our predictor against Hugging Face's token-classification pipeline, batches of 8 in input order.

Compared: `predictor` against `pipeline`, in residues/s, from sequences to states. To reach: 3 times. `forward` is the
model alone inside our predictor: how near the predictor is to it tells what tidying, batching and decoding cost. The
ceiling against the pipeline counts the padding that it computes; what it spends on each residue in Python beside that,
it loses on top. `products` is the matrix products with the blocks' weights alone, at the rate that the machine has for
them: no model of this shape and precision can be faster.

Invariant: the same backbone, chains and threads for all, each in a process of its own.
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
    """How much is measured; passes that warm up are over a few chains only."""

    chains: int = 1000
    repeats: int = 2


def run(sizes: Sizes) -> tuple[list[Row], dict[str, Any]]:
    """Measure.

    Returns:
        Rows in residues/s, and what else the figures depend on.
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
