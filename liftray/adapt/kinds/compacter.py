"""Compacters (Mahabadi et al. 2021, the form without a norm): bottlenecks whose matrices are Kronecker products."""

from typing import Any

from liftray.adapt.kinds.base import units
from liftray.adapt.kinds.bottleneck import Bottleneck, ParallelBottleneck, places
from liftray.backbone.dimensions import Dimensions
from liftray.errors import ConfigError
from liftray.sections import AdapterSettings


class Compacter(Bottleneck):
    """A sequential compacter; its width is a multiple of `hypercomplex_dim`."""

    def check(self, settings: AdapterSettings, width: int, where: str) -> None:
        if width % settings.hypercomplex_dim:
            raise ConfigError(
                f"adapter.hypercomplex_dim={settings.hypercomplex_dim} does not divide the width {width}, and a "
                f"{settings.kind}'s matrices are Kronecker products of that many factors",
                where=where,
                remedy="choose a divisor of the width, such as 4",
            )

    def library_config(self, settings: AdapterSettings, width: int) -> Any:
        from adapters import CompacterPlusPlusConfig

        return CompacterPlusPlusConfig(
            phm_dim=settings.hypercomplex_dim, **self.library_options(settings, width)
        )

    def width(self, settings: AdapterSettings, model_width: int) -> int:
        factors = settings.hypercomplex_dim
        return max(1, units(settings, model_width) // factors) * factors

    def parameters(self, settings: AdapterSettings, size: Dimensions, blocks: int) -> int:
        # Rank-one factors of both matrices, their biases, and for the whole model the rules that mix them.
        each = 3 * (size.width + self.width(settings, size.width))
        return blocks * places(settings) * each + settings.hypercomplex_dim**3


class ParallelCompacter(Compacter, ParallelBottleneck):
    """A compacter that reads a part's input and adds to its output, times `parallel_scale`."""

    def library_options(self, settings: AdapterSettings, width: int) -> dict[str, Any]:
        options = super().library_options(settings, width)
        return {**options, "scaling": settings.parallel_scale, "is_parallel": True}
