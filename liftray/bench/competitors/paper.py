"""Baseline (b): the training loop of Yang, Liu & Li (2023) in plain PyTorch.

Invariant: a batch is 4 random chains, padded; a step accumulates the gradients of 8 batches. Adapters of the `adapters`
library are above the cut, and every step runs the whole backbone forward. The prefix keeps no graph, since nothing in
it trains.
"""

import time
from collections.abc import Iterator
from typing import Any

import adapters
import torch
from adapters import AdapterModelInterface, LoRAConfig, SeqBnConfig
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from liftray.backbone.families import ADAPTER_INTERFACE
from liftray.bench.competitors import models
from liftray.bench.workload import Encoded, Timing, Workload
from liftray.data.labels import IGNORE_INDEX

BATCH = 4
ACCUMULATED = 8
_NAME = "paper"
_WEIGHT_DECAY = 1e-3


def run(workload: Workload) -> Timing:
    """Train; a pass is once over all chains.

    Args:
        workload: What is compared; bfloat16 is autocast over float32 weights, the loop's mixed precision.

    Returns:
        Seconds of each pass.
    """
    model = Tagger(workload).to(workload.device).train()
    optimizer = torch.optim.AdamW(parameter_groups(model), lr=workload.lr)
    tokens = workload.tokens()
    chains = workload.encoded()
    seconds = []
    for epoch in range(workload.warmup + workload.repeats):
        order = torch.randperm(len(chains), generator=torch.Generator().manual_seed(workload.seed + epoch))
        models.wait(workload.device)
        start = time.perf_counter()
        train_one_pass(
            model, optimizer, padded_batches([chains[row] for row in order], tokens.pad_id), workload
        )
        models.wait(workload.device)
        seconds.append(time.perf_counter() - start)
    residues = sum(len(each.tokens_L) - tokens.num_leading - tokens.num_trailing for each in chains)
    trained = sum(each.numel() for each in model.parameters() if each.requires_grad)
    details = {"batch": BATCH, "accumulated": ACCUMULATED, "trained_parameters": trained}
    return Timing(residues, seconds[workload.warmup :], details)


class Tagger(nn.Module):
    """The whole encoder with adapters above the cut, dropout and a linear layer.

    Args:
        workload: Names encoder, cut, adapters and head.
    """

    def __init__(self, workload: Workload) -> None:
        super().__init__()
        self.encoder: Any = adapted(workload)
        self.dropout = nn.Dropout(workload.dropout)
        self.classify = nn.Linear(workload.model.width, workload.classes)

    def forward(self, tokens_BL: torch.Tensor, mask_BL: torch.Tensor) -> torch.Tensor:
        """Give logits_BLC."""
        hidden_BLD = self.encoder(input_ids=tokens_BL, attention_mask=mask_BL).last_hidden_state
        return self.classify(self.dropout(hidden_BLD))


def adapted(workload: Workload) -> nn.Module:
    """The frozen encoder with adapters in the blocks above the cut, which alone train.

    Args:
        workload: Names encoder, cut, kind and width.

    Returns:
        The transformers encoder, changed in place by the `adapters` library.
    """
    encoder: Any = models.encoder(workload)
    skipped = list(range(workload.skip_layers))
    if workload.kind == "lora":
        config: Any = LoRAConfig(r=workload.rank, alpha=workload.rank, leave_out=skipped)
    else:
        config = SeqBnConfig(
            reduction_factor=min(workload.reduction_factor, workload.model.width), leave_out=skipped
        )
    interface = ADAPTER_INTERFACE[workload.model.family]
    adapters.init(encoder, interface=AdapterModelInterface(**interface) if interface else None)
    encoder.add_adapter(_NAME, config=config)
    encoder.set_active_adapters(_NAME)
    for name, parameter in encoder.named_parameters():
        parameter.requires_grad_(f".{_NAME}." in f".{name}.")
    return encoder.to(workload.device)


def train_one_pass(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]],
    workload: Workload,
) -> None:
    """Train on each batch once, with the paper's accumulation of gradients."""
    half = workload.precision == "bfloat16"
    number = 0
    for number, batch in enumerate(batches, start=1):
        tokens_BL, mask_BL, labels_BL = (each.to(workload.device) for each in batch)
        with torch.autocast(workload.device, torch.bfloat16, enabled=half):
            logits_BLC = model(tokens_BL, mask_BL)
        loss = nn.functional.cross_entropy(
            logits_BLC.flatten(0, 1).float(), labels_BL.flatten(), ignore_index=IGNORE_INDEX
        )
        (loss / ACCUMULATED).backward()
        if number % ACCUMULATED == 0:
            optimizer.step()
            optimizer.zero_grad()
    if number % ACCUMULATED:
        optimizer.step()
        optimizer.zero_grad()


def padded_batches(
    chains: list[Encoded], pad_id: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Token ids, mask and labels of 4 chains each, padded to the longest of them."""
    for start in range(0, len(chains), BATCH):
        members = chains[start : start + BATCH]
        tokens = [torch.from_numpy(each.tokens_L) for each in members]
        labels = [torch.from_numpy(each.labels_L) for each in members]
        yield (
            pad_sequence(tokens, batch_first=True, padding_value=pad_id),
            pad_sequence([torch.ones_like(each) for each in tokens], batch_first=True),
            pad_sequence(labels, batch_first=True, padding_value=IGNORE_INDEX),
        )


def parameter_groups(model: nn.Module) -> list[dict[str, Any]]:
    """Weight decay on matrices alone, none on norms and biases."""
    trained = [each for each in model.parameters() if each.requires_grad]
    return [
        {"params": [each for each in trained if each.dim() > 1], "weight_decay": _WEIGHT_DECAY},
        {"params": [each for each in trained if each.dim() <= 1], "weight_decay": 0.0},
    ]
