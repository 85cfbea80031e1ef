"""An exponential moving average of the trained weights over the steps of a run.

Invariant: the average after step s is a function of the weights after steps 1 to s alone. It is the same on any number
of ranks, under any ZeRO stage (to rounding), and in a resumed run. Each rank averages its own part of the trained
weights.
Flow: loop, after each step -> [this] -> validation and the best weights.

The decay rises to its value d: at step s it is min(d, (1 + s) / (10 + s)), as in TensorFlow's ExponentialMovingAverage.
So the initial weights soon have no influence.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from liftray.train import parts


class Average:
    """The running average of some parameters, which DeepSpeed may have divided among ranks.

    Args:
        parameters: By name; the average starts as their values.
        decay: Share of the average that remains at a step.
        start: The whole average of a resumed run.
    """

    def __init__(
        self, parameters: Mapping[str, nn.Parameter], decay: float, start: Mapping[str, Tensor] | None = None
    ) -> None:
        self._parameters, self._decay = dict(parameters), decay
        self._parts: dict[str, Tensor] = {}
        for name, parameter in self._parameters.items():
            held = parts.held(parameter)
            begun = parts.own(parameter, start[name].to(held.device)) if start else held
            self._parts[name] = begun.detach().clone()

    @torch.no_grad()
    def update(self, steps: int) -> None:
        """Add the current weights, after `steps` optimizer steps (1 or more)."""
        share = 1.0 - min(self._decay, (1 + steps) / (10 + steps))
        for name, parameter in self._parameters.items():
            self._parts[name].lerp_(parts.held(parameter), share)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Give the model the averaged weights while the block runs; every rank must enter, without a step inside."""
        before = {name: parts.held(parameter).clone() for name, parameter in self._parameters.items()}
        self._put(self._parts)
        try:
            yield
        finally:
            self._put(before)

    def weights(self) -> dict[str, Tensor]:
        """The average, whole, in float32 on the CPU; every rank must call it."""
        return {
            name: parts.whole(parameter, self._parts[name]).float().cpu().clone()
            for name, parameter in self._parameters.items()
        }

    @torch.no_grad()
    def _put(self, held: Mapping[str, Tensor]) -> None:
        for name, parameter in self._parameters.items():
            parts.put(parameter, held[name])
