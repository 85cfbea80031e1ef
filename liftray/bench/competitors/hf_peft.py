"""Baseline (a): what most users run. Hugging Face Trainer, PEFT's LoRA on query and value of all blocks, linear head.

Invariant: nothing of LiftRay runs inside a pass. A batch is 8 random chains padded to the longest, as the library's own
collator for token classification makes it. Settings that are not named here are the Trainer's defaults. The only module
that imports `peft` and, through the Trainer, `accelerate`.
"""

import importlib
import importlib.util
import os
import tempfile
import time
from typing import Any

from torch.utils.data import Dataset
from transformers import (
    DataCollatorForTokenClassification,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from liftray.bench.competitors import models
from liftray.bench.workload import Encoded, Timing, Workload
from liftray.errors import ConfigError

BATCH = 8


def run(workload: Workload) -> Timing:
    """Train; each epoch is a pass.

    Args:
        workload: What is compared; bfloat16 is the Trainer's `bf16=True`, autocast over float32 weights.

    Returns:
        Seconds of each epoch, data loading included.

    Raises:
        ConfigError: peft or accelerate is not installed.
    """
    require("accelerate")
    peft = require("peft")
    # Of several GPUs the Trainer would use all, for larger batches.
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")
    settings = peft.LoraConfig(
        task_type="TOKEN_CLS",  # also lets the head train
        r=workload.rank,
        lora_alpha=workload.rank,
        target_modules=["query", "value"],
    )
    model = peft.get_peft_model(models.classifier(workload), settings)
    data = _Chains(workload.encoded())
    clock = _Clock(workload)
    with tempfile.TemporaryDirectory() as folder:
        Trainer(
            model=model,
            args=_arguments(workload, folder),
            train_dataset=data,
            data_collator=DataCollatorForTokenClassification(models.tokenizer(workload)),
            callbacks=[clock],
        ).train()
    trained = sum(each.numel() for each in model.parameters() if each.requires_grad)
    return Timing(
        data.residues, clock.seconds[workload.warmup :], {"batch": BATCH, "trained_parameters": trained}
    )


def _arguments(workload: Workload, folder: str) -> TrainingArguments:
    return TrainingArguments(
        output_dir=folder,
        per_device_train_batch_size=BATCH,
        num_train_epochs=workload.warmup + workload.repeats,
        learning_rate=workload.lr,
        bf16=workload.precision == "bfloat16",
        use_cpu=workload.device == "cpu",
        dataloader_pin_memory=workload.device != "cpu",
        seed=workload.seed,
        # What a run would also do and a clock should not see.
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )


class _Chains(Dataset):
    """Tokenised chains as the Trainer takes them."""

    def __init__(self, chains: list[Encoded]) -> None:
        self._rows = [
            {
                "input_ids": tokens_L.tolist(),
                "attention_mask": [1] * len(tokens_L),
                "labels": labels_L.tolist(),
            }
            for tokens_L, labels_L in chains
        ]
        # One token before and one after the residues.
        self.residues = sum(len(tokens_L) - 2 for tokens_L, _ in chains)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, row: int) -> dict[str, list[int]]:
        return self._rows[row]


class _Clock(TrainerCallback):
    """Seconds of each epoch."""

    def __init__(self, workload: Workload) -> None:
        self._device = workload.device
        self._start = 0.0
        self.seconds: list[float] = []

    def on_epoch_begin(self, *_: Any, **__: Any) -> None:
        models.wait(self._device)
        self._start = time.perf_counter()

    def on_epoch_end(self, *_: Any, **__: Any) -> None:
        models.wait(self._device)
        self.seconds.append(time.perf_counter() - self._start)


def require(package: str) -> Any:
    """Import a package of the extra `bench`."""
    if importlib.util.find_spec(package) is None:
        raise ConfigError(
            f"package {package} is not installed",
            where="the baseline hf_peft",
            remedy="pip install 'liftray[bench]'",
        )
    return importlib.import_module(package)
