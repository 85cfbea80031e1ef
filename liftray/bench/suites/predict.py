"""`predict`: the predictor against the loop that one would write by hand, padded batches of 8 in the order given.

Invariant: both run the same tagger over the same chains and end with a state string and probabilities for each.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from liftray.adapt.tagger import Tagger
from liftray.bench import flops
from liftray.bench.meter import in_turns, median
from liftray.bench.report import Row, row
from liftray.bench.suites import models
from liftray.bench.suites.chains import chains
from liftray.data.labels import decode
from liftray.predict.predictor import Predictor

_BATCH = 8


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes:
        chains: Chains to predict; lengths come in random order.
        tokens_per_batch: The predictor's budget.
        longest: Residues of the longest chain; also the tagger's window, so that neither cuts any.
        width: Of the hidden states; 320 is ESM-2 8M.
        skip_layers: The tagger's cut.
        repeats: Timed passes of each.
        seed: Of chains and weights.
    """

    chains: int = 64
    tokens_per_batch: int = 4096
    longest: int = 511
    width: int = 320
    skip_layers: int = 4
    repeats: int = 3
    seed: int = 0


def run(sizes: Sizes) -> tuple[list[Row], dict[str, Any]]:
    """Measure.

    Returns:
        Rows in residues/s, and what else the figures depend on.
    """
    tagger = models.tagger(
        seed=sizes.seed, width=sizes.width, skip_layers=sizes.skip_layers, max_length=sizes.longest
    )
    inputs = [
        (name, sequence) for name, sequence, _ in chains(sizes.chains, sizes.seed, longest=sizes.longest)
    ]
    predictor = Predictor(tagger, {}, tokens_per_batch=sizes.tokens_per_batch)
    runs = {
        "plain_loop": lambda: plain_loop(tagger, inputs),
        "predictor": lambda: list(predictor.predict(inputs)),
    }
    seconds = in_turns("bench predict", runs, repeats=sizes.repeats, wait=models.wait)
    residues = sum(len(sequence) for _, sequence in inputs)
    extra = tagger.tokens.num_prefix + tagger.tokens.num_suffix
    lengths = [len(sequence) + extra for _, sequence in inputs]
    plain = row("plain_loop", residues / median(seconds["plain_loop"]), "residues/s")
    ours = row(
        "predictor",
        residues / median(seconds["predictor"]),
        "residues/s",
        plain,
        flops.ceiling_packing(lengths, _BATCH),
    )
    return [plain, ours], {
        "backbone": "shape of ESM-2 8M, random weights"
        if sizes.width == Sizes.width
        else "narrowed ESM-2 8M",
        "dtype": "float32",
        "plain_loop_batch": _BATCH,
        "residues": residues,
        "device": models.device(),
        "threads": torch.get_num_threads(),
        "seconds": {name: [round(value, 4) for value in values] for name, values in seconds.items()},
    }


@torch.inference_mode()
def plain_loop(tagger: Tagger, inputs: list[tuple[str, str]]) -> list[tuple[str, npt.NDArray[np.float32]]]:
    """Predict in batches of 8 in the order given, each padded to its longest chain.

    Args:
        tagger: The model, in evaluation mode.
        inputs: (id, sequence) pairs.

    Returns:
        The state string and probabilities_LC of each chain.
    """
    tokens = tagger.tokens
    results = []
    for start in range(0, len(inputs), _BATCH):
        encoded = [
            torch.from_numpy(tokens.encode(sequence)) for _, sequence in inputs[start : start + _BATCH]
        ]
        tokens_BL = torch.nn.utils.rnn.pad_sequence(encoded, batch_first=True, padding_value=tokens.pad_id)
        lengths_B1 = torch.tensor([len(ids) for ids in encoded])[:, None]
        mask_BL = torch.arange(tokens_BL.shape[1]) < lengths_B1
        logits_BLC = tagger(tokens_BL.to(models.device()), mask_BL.to(models.device()))
        probabilities_BLC = logits_BLC.softmax(-1).cpu().numpy()
        for place, ids in enumerate(encoded):
            kept_LC = probabilities_BLC[place, tokens.num_prefix : len(ids) - tokens.num_suffix]
            results.append((decode(kept_LC.argmax(axis=1), tagger.alphabet), kept_LC))
    return results
