"""Tables of adapter kinds and heads: their names, where they are implemented, and which settings they read.

Invariant: pure names. The sections validate `adapter.kind` and `head.kind` with these tables; `adapt.kinds` and
`adapt.heads` load implementations by them. So a kind is one module there and one line here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from liftray.sections.section import Uses


@dataclass(frozen=True)
class KindDeclaration:
    """One kind.

    Attributes:
        implementation: `module:Class`, relative to the package of all kinds of its sort.
        reads: The settings of its section that it reads and that not all kinds read.
    """

    implementation: str
    reads: tuple[str, ...] = ()


_WIDTH, _PREFIX = ("reduction_factor",), ("prefix_length", "prefix_hidden")
_SEQUENTIAL = (*_WIDTH, "location")
_PARALLEL = (*_SEQUENTIAL, "parallel_scale")

# Implemented in `liftray.adapt.kinds`.
ADAPTERS: dict[str, KindDeclaration] = {
    "bottleneck": KindDeclaration("bottleneck:Bottleneck", _SEQUENTIAL),
    "parallel_bottleneck": KindDeclaration("bottleneck:ParallelBottleneck", _PARALLEL),
    "compacter": KindDeclaration("compacter:Compacter", (*_SEQUENTIAL, "hypercomplex_dim")),
    "parallel_compacter": KindDeclaration("compacter:ParallelCompacter", (*_PARALLEL, "hypercomplex_dim")),
    "lora": KindDeclaration("lora:Lora", (*_WIDTH, "lora_location")),
    "dora": KindDeclaration("lora:Dora", (*_WIDTH, "lora_location")),
    "ia3": KindDeclaration("ia3:Ia3"),
    "prefix_tuning": KindDeclaration("prefix_tuning:PrefixTuning", _PREFIX),
    "mam": KindDeclaration("unions:Mam", (*_WIDTH, "parallel_scale", *_PREFIX)),
    "unipelt": KindDeclaration("unions:Unipelt", (*_WIDTH, *_PREFIX)),
}

# Implemented in `liftray.adapt.heads`.
HEADS: dict[str, KindDeclaration] = {
    "linear": KindDeclaration("linear:LinearHead"),
    "conv": KindDeclaration("conv:ConvHead"),
    "metric": KindDeclaration("metric:MetricHead", ("temperature",)),
    "lstm": KindDeclaration("lstm:LstmHead"),
}

# A setting that not all kinds read -> why the others have no use for it.
ADAPTER_REASONS = {
    "reduction_factor": "has no bottleneck and no rank",
    "location": "has its own places",
    "lora_location": "has its own places",
    "parallel_scale": "has no parallel adapter",
    "hypercomplex_dim": "has no Kronecker products",
    "prefix_length": "has no prefix",
    "prefix_hidden": "has no prefix",
}
HEAD_REASONS = {"temperature": "has no centroids"}

if TYPE_CHECKING:
    AdapterKind = str
    HeadKind = str
else:
    AdapterKind = Literal[tuple(ADAPTERS)]
    HeadKind = Literal[tuple(HEADS)]


def uses(table: Mapping[str, KindDeclaration], reasons: Mapping[str, str]) -> Uses:
    """Each setting with the kinds that read it, and why the others do not."""
    return {
        setting: (tuple(name for name, entry in table.items() if setting in entry.reads), reason)
        for setting, reason in reasons.items()
    }
