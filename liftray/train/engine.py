"""DeepSpeed around a tagger, and its state as plain tensors by name.

Invariant: the trained state (float32 weights, Adam moments, step count) has one format under ZeRO 0, 1, 2 and 3 and on
any number of ranks. So a checkpoint does not depend on a run's layout.

DeepSpeed runs in its float32 mode whatever the backbone's precision: the frozen weights may be bfloat16 (autocast
computes in it), the trained ones are float32. So the four stages take the same steps, to rounding.
"""

from typing import Any

import torch
from torch import Tensor, nn

from liftray.adapt.tagger import Tagger
from liftray.config import TrainSettings, ZeroSettings
from liftray.train import parts
from liftray.train.average import Average
from liftray.train.memory import LARGEST_BUCKET

MOMENTS = ("exp_avg", "exp_avg_sq")


class Engine:
    """A tagger under DeepSpeed.

    Args:
        tagger: The model, trained parameters in float32, with the weights that training starts or resumes from.
        train: AdamW, clipping, averaging and schedule.
        zero: The ZeRO stage.
        accumulation: Micro-batches of one rank in a global step.
        ranks: Number of ranks.
        device: Where this rank computes.
    """

    def __init__(
        self,
        tagger: Tagger,
        train: TrainSettings,
        zero: ZeroSettings,
        accumulation: int,
        ranks: int,
        device: torch.device,
    ) -> None:
        import deepspeed

        self._stage, self._train = zero.stage, train
        self._scale = float(ranks * accumulation)
        self._parameters = tagger.trained()
        self.device = device
        # DeepSpeed would look for a compiler and build an operation for inference, which training never calls. That
        # takes seconds of every start, and a process killed meanwhile leaves a lock that all later ones wait for.
        deepspeed.ops.__compatible_ops__ = {}
        optimizer = torch.optim.AdamW(_groups(self._parameters, train.weight_decay), lr=train.lr)
        self._deepspeed, self._optimizer, _, _ = deepspeed.initialize(
            model=tagger,
            optimizer=optimizer,
            config=deepspeed_config(
                train, zero, accumulation, sum(each.numel() for each in self._parameters.values())
            ),
            dist_init_required=False,
        )

    @property
    def module(self) -> nn.Module:
        """The model to call: through DeepSpeed, so that ZeRO-3 can gather."""
        return self._deepspeed

    def average(self, start: dict[str, Tensor]) -> Average | None:
        """The average of the trained weights, where the settings ask for one.

        Args:
            start: The average of a resumed run; empty: the average starts as the weights.
        """
        if self._train.average == "none":
            return None
        return Average(self._parameters, self._train.average_decay, start)

    def backward(self, loss_share: Tensor) -> None:
        """Add the gradient of one micro-batch.

        Args:
            loss_share: Its loss sum over the labelled residues of the whole global step. DeepSpeed averages over
                ranks and accumulation; the factor here makes that the sum that a mean over residues needs.
        """
        self._deepspeed.backward(loss_share * self._scale)

    def step(self, lr: float) -> None:
        """End a micro-batch; at the end of a global step the optimizer moves with this learning rate."""
        for group in self._optimizer.param_groups:
            group["lr"] = lr
        self._deepspeed.step()

    def weights(self) -> dict[str, Tensor]:
        """Trained weights in float32 on the CPU; every rank must call it."""
        return {name: self._full(parameter, None) for name, parameter in self._parameters.items()}

    def moments(self) -> dict[str, Tensor]:
        """Adam's moments as `NAME/exp_avg` and `NAME/exp_avg_sq` on the CPU; every rank must call it."""
        self._ensure_state()
        return {
            f"{name}/{key}": self._full(parameter, key)
            for name, parameter in self._parameters.items()
            for key in MOMENTS
        }

    def load_moments(self, moments: dict[str, Tensor], steps: int) -> None:
        """Put Adam's state back; the weights were loaded into the tagger before DeepSpeed wrapped it.

        Args:
            moments: By `NAME/exp_avg` and `NAME/exp_avg_sq`.
            steps: Optimizer steps taken so far (Adam's bias correction).
        """
        from deepspeed.utils import safe_set_full_optimizer_state, safe_set_local_optimizer_state

        self._ensure_state(steps)
        for name, parameter in self._parameters.items():
            for key in MOMENTS:
                value = moments[f"{name}/{key}"].to(self.device)
                if self._stage == 0:
                    self._optimizer.state[parameter][key].copy_(value)
                elif self._stage == 3:
                    # The setter of whole values fails where a size is no multiple of the number of ranks.
                    safe_set_local_optimizer_state(parameter, parts.own(parameter, value), key)
                else:
                    safe_set_full_optimizer_state(parameter, value, key)

    def _full(self, parameter: nn.Parameter, key: str | None) -> Tensor:
        from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

        if self._stage == 0:
            value = parameter if key is None else self._optimizer.state[parameter][key]
        elif key is None:
            value = safe_get_full_fp32_param(parameter)
        else:
            value = safe_get_full_optimizer_state(parameter, key)
        return value.detach().float().cpu().clone()

    def _ensure_state(self, steps: int | None = None) -> None:
        """Make Adam's state where the first step has not made it yet, and set its step count."""
        from deepspeed.utils import lazy_init_hp_params_optimizer_state

        inner = self._optimizer if self._stage == 0 else self._optimizer.optimizer
        for flat in self._flat_parameters():
            state = inner.state[flat]
            for key in MOMENTS:
                state.setdefault(key, torch.zeros_like(flat, memory_format=torch.preserve_format))
            if steps is not None or "step" not in state:
                state["step"] = torch.tensor(float(steps or 0))
        if self._stage in (1, 2):
            # DeepSpeed links its parameters to this state after the first group's first step, when the state of the
            # other groups does not exist yet, and never again.
            for parameters, flat in zip(self._optimizer.bit16_groups, self._flat_parameters(), strict=True):
                lazy_init_hp_params_optimizer_state(parameters, flat, inner.state)

    def _flat_parameters(self) -> list[Tensor]:
        if self._stage == 0:
            return list(self._parameters.values())
        if self._stage == 3:
            return list(self._optimizer.fp32_partitioned_groups_flat)
        return list(self._optimizer.single_partition_of_fp32_groups)


def _groups(parameters: dict[str, nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """Decay matrices only: none on biases, norms, and scales in the form of a matrix of one column (IA3, DoRA)."""
    matrices = [each for each in parameters.values() if each.ndim > 1 and each.shape[-1] > 1]
    vectors = [each for each in parameters.values() if each.ndim <= 1 or each.shape[-1] == 1]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def deepspeed_config(
    train: TrainSettings, zero: ZeroSettings, accumulation: int, trained: int
) -> dict[str, Any]:
    """DeepSpeed's configuration of a run.

    Args:
        train: The clipping.
        zero: The ZeRO stage.
        accumulation: Micro-batches of a rank in one global step.
        trained: Number of trained parameters.
    """
    return {
        # The real batch size is the plan's; DeepSpeed only multiplies this to report it.
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": accumulation,
        "gradient_clipping": train.grad_clip,
        # The bucket in which gradients are summed over ranks is taken whole, whatever it holds: 2 GB by default.
        "zero_optimization": {
            "stage": zero.stage,
            "reduce_bucket_size": min(trained, LARGEST_BUCKET),
        },
        # torch's AdamW is not on DeepSpeed's list of tested optimizers, and its own CPU Adam would be compiled.
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 10**9,
        # It waits for the GPU twice in every micro-batch, for figures that are not used.
        "timers": {"throughput": {"enabled": False}},
    }
