"""Whether configs of published backbones fit the GPUs that they name: `python -m liftray.bench.fits FILE...`.

Invariant: nothing is loaded or fetched; the same estimate is shown before training (`train.memory`). A config names its
GPU by `scaling.gpu_memory_gb` and its backbone by a hub source whose repository `shapes` knows.
"""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from liftray import config
from liftray.backbone.architecture import check_config
from liftray.backbone.dimensions import Dimensions
from liftray.bench.shapes import SHAPES, Shape
from liftray.cache import actor
from liftray.config import Settings
from liftray.errors import ConfigError, LiftrayError
from liftray.predict import predictor
from liftray.train import memory

# What has that much memory, in 1e9 bytes.
GPUS = {
    16: "T4, V100",
    24: "RTX 4090, A10, L4",
    40: "A100 40 GB",
    80: "A100 80 GB, H100",
}
_HEADER = (
    "config | backbone | GPUs | ZeRO | precision | tokens a batch | training | cached | filling | scoring"
)


@dataclass(frozen=True)
class Fit:
    """The needs of a config, and what it names; all memory in bytes on one GPU.

    Attributes:
        name: The file's, without its ending.
        shape: The backbone.
        settings: The config.
        tokens: Most tokens of a micro-batch.
        training: A worker, the frozen prefix computed (with `cache.enabled: true` read).
        cached: A worker that reads the frozen prefix from a full cache.
        filling: A process that fills the cache.
        scoring: The driver at the end, which holds the trained model and the frozen baseline; and before, the trained
            model while a worker trains the baseline.
    """

    name: str
    shape: Shape
    settings: Settings
    tokens: int
    training: int
    cached: int
    filling: int
    scoring: int

    @property
    def limit(self) -> float:
        """The memory of the config's GPU that an estimate may use."""
        return self.gpu_gb * 1e9 * memory.USABLE

    @property
    def gpu_gb(self) -> float:
        """Memory of the config's GPU in 1e9 bytes."""
        return self.settings.scaling.gpu_memory_gb or 0.0

    @property
    def most(self) -> int:
        """The largest need."""
        return max(self.training, self.filling, self.scoring)


def fit(path: Path) -> Fit:
    """Estimate what a config needs.

    Raises:
        ConfigError: The file is not a config or names no GPU, or its backbone is not a known published one.
    """
    settings = config.load(path)
    if settings.scaling.gpu_memory_gb is None:
        raise ConfigError("names no GPU", where=str(path), remedy="set scaling.gpu_memory_gb")
    shape = _shape(settings, str(path))
    size = Dimensions.of(*check_config({"model_type": shape.family, **shape.config}, shape.name))
    frozen = settings.replace({"method": "features"})
    whole = memory.forward(settings, size, predictor.TOKENS_PER_BATCH)
    scoring = max(
        whole.weights + whole.total, whole.weights + memory.training(frozen, size, cached=False).total
    )
    return Fit(
        name=path.stem,
        shape=shape,
        settings=settings,
        tokens=memory.micro_batch_tokens(settings),
        training=memory.training(settings, size, cached=settings.cache.enabled is True).total,
        cached=memory.training(settings, size, cached=True).total,
        filling=memory.forward(settings, size, actor.TOKENS_PER_BATCH).total,
        scoring=scoring,
    )


def table(fits: Iterable[Fit]) -> str:
    """A Markdown table of fits, memory in 1e9 bytes, smallest backbone first."""
    rows = [_HEADER, " | ".join(["---"] * _HEADER.count("|") + ["---"])]
    rows += [_row(each) for each in sorted(fits, key=lambda each: each.filling)]
    return "\n".join(f"| {row} |" for row in rows)


def _row(each: Fit) -> str:
    known = GPUS.get(int(each.gpu_gb))
    gpu = f"{each.gpu_gb:g} GB ({known})" if known else f"{each.gpu_gb:g} GB"
    needs = (each.training, each.cached, each.filling, each.scoring)
    cells = [
        f"`{each.name}.yaml`",
        each.shape.title,
        f"{each.settings.scaling.num_workers} x {gpu}",
        str(each.settings.zero.stage),
        each.settings.backbone.dtype,
        f"{each.tokens:,}",
        *(f"{need / 1e9:.1f}" for need in needs),
    ]
    return " | ".join(cells)


def _shape(settings: Settings, where: str) -> Shape:
    repositories = {each.hub: each for each in SHAPES.values() if each.hub}
    for source in settings.backbone.source:
        repository = source.removeprefix("hf:").partition("@")[0]
        if source.startswith("hf:") and repository in repositories:
            return repositories[repository]
    raise ConfigError(
        f"no known architecture behind {', '.join(settings.backbone.source)}",
        where=where,
        remedy=f"known are {', '.join(repositories)}",
    )


def main(names: Sequence[str]) -> int:
    """Print the table of these files, or one line that states the fault; returns the exit status."""
    try:
        print(table(fit(Path(name)) for name in names))
    except LiftrayError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
