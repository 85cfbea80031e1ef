"""What LiftRay must know of an adapter kind.

Invariant: pure, no torch; the `adapters` library is imported inside `library_config` alone. A kind holds no settings:
each method takes the section. Implemented by the other modules of this package, which `sections.kinds.ADAPTERS` lists.
"""

from abc import ABC, abstractmethod
from typing import Any, Literal

from liftray.adapt.activation_bytes import ActivationBytes, ForwardPass
from liftray.backbone.dimensions import Dimensions
from liftray.sections import AdapterSettings

Part = Literal["attention", "feed_forward", "output"]


class Kind(ABC):
    """One adapter architecture."""

    def check(self, settings: AdapterSettings, width: int, where: str) -> None:
        """Refuse settings that a backbone of this width cannot have.

        Args:
            settings: The adapter section.
            width: Width D of the backbone.
            where: Its name, for the error.

        Raises:
            ConfigError: They do not fit; by default everything fits.
        """
        return

    @abstractmethod
    def library_config(self, settings: AdapterSettings, width: int) -> Any:
        """The config object of the `adapters` library, with activations and initial weights as published.

        Args:
            settings: The adapter section.
            width: Width D of the backbone.
        """

    @abstractmethod
    def width(self, settings: AdapterSettings, model_width: int) -> int | None:
        """Bottleneck units or LoRA rank, as built on a backbone of `model_width`; None for a kind without a width."""

    @abstractmethod
    def parameters(self, settings: AdapterSettings, size: Dimensions, blocks: int) -> int:
        """Trained parameters of all adapters together.

        Args:
            settings: The adapter section.
            size: Sizes of the backbone.
            blocks: How many blocks have adapters: `Cut.above`.
        """

    @abstractmethod
    def activation_bytes(
        self, settings: AdapterSettings, forward: ForwardPass, *, lowest: bool = False
    ) -> ActivationBytes:
        """What the adapters of one block keep for the backward pass.

        Args:
            settings: The adapter section.
            forward: Sizes, precision and device.
            lowest: For the lowest block with adapters, of which nothing below `first_part` is kept.
        """

    def reads_block_output(self, settings: AdapterSettings, family: str) -> bool:
        """Whether its adapters read the output of their block alone, so that the block itself stays constant.

        Training then enters behind the lowest block with adapters, not in front of it.

        Args:
            settings: The adapter section.
            family: Family of the backbone: `esm`, `t5` or `bert`.
        """
        return False

    def first_part(self, settings: AdapterSettings) -> Part:
        """The first part of a block whose activations the backward pass needs: where the lowest adapter is."""
        return "attention"

    def prefix_length(self, settings: AdapterSettings) -> int:
        """Trained keys and values in front of each window's own."""
        return 0


def units(settings: AdapterSettings, model_width: int) -> int:
    """Width by `reduction_factor`: the floor of the quotient, at least one."""
    return max(1, model_width // settings.reduction_factor)


def skipped_blocks(settings: AdapterSettings) -> list[int]:
    """The blocks that the library leaves out."""
    return list(range(settings.skip_layers))
