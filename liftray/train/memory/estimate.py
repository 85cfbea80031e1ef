"""Peak memory of a worker, estimated before anything is loaded.

Invariant: the estimate is a pure function of settings and architecture. It counts weights, gradients and optimizer
state, and activations operation by operation (`activations`). Tests compare the sum with measured peaks. Flow:
settings, sizes of a backbone -> [this] -> `report`.

Sources: parameters, gradients and Adam's two moments as in Rajbhandari et al. (2020, sections 3.1 and 5), in float32,
over the trained parameters P alone; ZeRO 1 and 2 divide the optimizer's state by the number of workers, ZeRO 3 the
frozen weights as well. What DeepSpeed adds. ZeRO 1 to 3 keep a float32 copy of the weights that a worker's optimizer
updates, and gather gradients in one bucket. ZeRO 3 also holds the gathered weights that it will use again soon.
"""

from dataclasses import dataclass

from liftray.adapt import heads, parameters
from liftray.adapt.activation_bytes import FLOAT32, INT64, ActivationBytes, Device, ForwardPass
from liftray.adapt.cut import Cut
from liftray.adapt.parameters import TrainedParameters
from liftray.backbone.dimensions import Dimensions
from liftray.backbone.tokens import MOST_SPECIALS
from liftray.config import DataSettings, ScalingSettings, Settings
from liftray.data.step_split import StepSplit
from liftray.train.memory import activations

# DeepSpeed's defaults, in numbers: ZeRO 3 keeps a gathered weight that is used again within 1e9 numbers, which forward
# and backward share, and gathers 5e7 ahead.
_KEPT_GATHERED, _AHEAD = 500_000_000, 50_000_000
# Gradients summed over ranks at a time, DeepSpeed's default. The engine sets no more than the trained parameters.
LARGEST_BUCKET = 500_000_000
# Allowed for a CUDA context with torch's kernels, and for cuBLAS' and NCCL's own memory; no test measures it.
_CONTEXT = 800_000_000


@dataclass(frozen=True)
class Memory:
    """Bytes of one worker at its peak.

    Attributes:
        weights: Frozen and trained weights, held throughout.
        gradients: Of the trained parameters.
        optimizer: Adam's moments, under ZeRO the float32 copy that it moves, and the average where one is kept.
        activations: What forward keeps for backward, and the batch.
        workspace: What is needed for a moment in addition, and a GPU's own.
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int
    workspace: int

    @property
    def resident(self) -> int:
        """What does not depend on the batch: weights, gradients, optimizer."""
        return self.weights + self.gradients + self.optimizer

    @property
    def total(self) -> int:
        """The sum of all parts."""
        return self.resident + self.activations + self.workspace

    def __str__(self) -> str:
        parts = ("weights", "gradients", "optimizer", "activations", "workspace")
        listed = ", ".join(f"{name} {getattr(self, name) / 1e9:.2f}" for name in parts)
        return f"{self.total / 1e9:.2f} GB ({listed})"


def training(settings: Settings, size: Dimensions, *, cached: bool) -> Memory:
    """Estimate the peak of a training worker.

    Args:
        settings: The run's settings.
        size: Sizes of its backbone.
        cached: Whether the frozen prefix is read from the cache, so that the blocks below the cut are not loaded.

    Returns:
        Its parts. On a CPU, where no device has memory of its own, the copy of the best weights is among them.
    """
    return _RunEstimate(settings, size, cached).estimate()


def forward(settings: Settings, size: Dimensions, tokens: int) -> Memory:
    """Estimate the peak of a process that runs the whole model forward: a fill of the cache, a prediction.

    Args:
        settings: The run's settings.
        size: Sizes of its backbone.
        tokens: Tokens of a batch; on a CPU the windows run one by one.
    """
    run, through = _RunEstimate(settings, size, cached=False), forward_pass(settings, size)
    on_gpu = through.device == "cuda"
    weights = (size.parameters() - run.trained.backbone) * through.hidden + run.trained.total * FLOAT32
    rows = tokens if on_gpu else _window(settings.data)
    workspace = rows * activations.momentary(through, backward=False)
    hidden = 2 * tokens * size.width * through.hidden
    return Memory(weights, 0, 0, hidden, int(workspace) + (_CONTEXT if on_gpu else 0))


def forward_pass(settings: Settings, size: Dimensions) -> ForwardPass:
    """Sizes, precision and device of a run's forward passes."""
    return ForwardPass(size, settings.backbone.dtype, device_of(settings.scaling), settings.data.max_length)


def device_of(scaling: ScalingSettings) -> Device:
    """Where a run's workers compute."""
    return "cuda" if scaling.use_gpu else "cpu"


def cut_of(settings: Settings, size: Dimensions) -> Cut:
    """The cut of a run on a backbone of which only the sizes are known."""
    return Cut.of(settings.method, settings.adapter, size.family, size.blocks, settings.head.mix_blocks)


def micro_batch_tokens(settings: Settings) -> int:
    """Most tokens of a micro-batch of a run."""
    split = StepSplit.of(settings.train, _window(settings.data), settings.scaling.num_workers)
    return split.largest if split else settings.train.tokens_per_batch


def _window(data: DataSettings) -> int:
    return data.max_length + MOST_SPECIALS


class _RunEstimate:
    """One estimate: the numbers that its parts share."""

    def __init__(self, settings: Settings, size: Dimensions, cached: bool) -> None:
        self.settings, self.size, self.cached = settings, size, cached
        self.forward = forward_pass(settings, size)
        self.tokens = micro_batch_tokens(settings)
        self.cut = cut_of(settings, size)
        self.first_block = self.cut.entry if cached else 0
        self.trained: TrainedParameters = parameters.count(
            settings.method, settings.adapter, settings.head, settings.task, size, self.cut
        )

    def estimate(self) -> Memory:
        """The parts of the peak."""
        weights, gradients, optimizer, gathered = self._states()
        kept = self._kept()
        peak = self._peak(kept)
        own = _CONTEXT if self.settings.scaling.use_gpu else FLOAT32 * self.trained.total
        workspace = peak - kept + gathered + own
        if self.settings.zero.stage == 3:
            # Every worker loads all weights before they are divided.
            loaded = self.size.parameters(self.first_block) * self.forward.hidden + own
            workspace = max(workspace, loaded - weights - gradients - optimizer - kept)
        return Memory(weights, gradients, optimizer, kept, workspace)

    def _states(self) -> tuple[int, int, int, int]:
        """Weights, gradients, optimizer state, and weights that ZeRO 3 holds gathered."""
        settings, trained, whole = self.settings, self.trained, self.size.parameters(self.first_block)
        stage, workers = settings.zero.stage, settings.scaling.num_workers
        frozen = (whole - trained.backbone) * self.forward.hidden
        moved = FLOAT32 * trained.total
        average = 0 if settings.train.average == "none" else moved // (workers if stage == 3 else 1)
        if stage == 0:
            return frozen + moved, moved, 2 * moved + average, 0
        # ZeRO 2 and 3 release a gradient that belongs to another rank once its bucket is summed.
        held = moved if stage == 1 else FLOAT32 * min(trained.total, LARGEST_BUCKET)
        gradients, optimizer = held + moved // workers, 3 * moved // workers + average
        if stage < 3:
            return frozen + moved, gradients, optimizer, 0
        gathered = min(whole, _KEPT_GATHERED + _AHEAD + self.size.block)
        return (frozen + moved) // workers, gradients, optimizer, gathered * self.forward.hidden

    def _kept(self) -> int:
        """What forward keeps for backward, and the batch itself: tokens, labels and, from a cache, hidden states."""
        settings = self.settings
        kept = activations.head(settings.method, settings.head, self.cut.above, self.forward)
        if settings.method != "features":
            kept += self._blocks_kept() + activations.shared(self.forward)
        if settings.backbone.dtype == "bfloat16":
            # Autocast's copies of the trained weights live as long as the graph.
            kept += ActivationBytes(0.0, 2.0 * self.trained.total)
        batch = 2 * INT64 + (self.forward.hidden * self.size.width if self.cached else 0)
        return int(self.tokens * (kept.token + batch) + kept.once)

    def _blocks_kept(self) -> ActivationBytes:
        adapter, lowest, others = self.settings.adapter, ActivationBytes(), self.cut.above
        if self.settings.method == "adapter":
            lowest, others = activations.lowest_block(adapter, self.forward, self.cut), others - 1
        block = activations.block(self.settings.method, adapter, self.forward, self.cut)
        if not self.settings.train.recompute_activations or others == 0:
            return lowest + ActivationBytes(block.token * others, block.once * others)
        # The input of each block, and what one block keeps while it is run again; an adapter at the cut is outside of
        # that.
        apart = lowest if self.cut.enters_behind_block else ActivationBytes()
        return apart + ActivationBytes(self.forward.hidden * self.size.width * others) + block

    def _peak(self, kept: int) -> int:
        """The most that a step needs at one moment, in addition to weights, gradients and optimizer."""
        size, forward, tokens = self.size, self.forward, self.tokens
        # A matrix is laid out again for its product.
        matrix = forward.hidden * size.width * max(size.feed_forward, size.inner)
        in_head = heads.head_class(self.settings.head).momentary_bytes(size.width)
        # In the head's backward pass; in the optimizer's step, when the activations are released again.
        moments: list[float] = [kept + tokens * in_head, self._step()]
        if self.cut.entry < size.blocks:
            moments.append(kept + tokens * activations.momentary(forward, backward=True) + matrix)
        if self.cut.entry > 0 and not self.cached:
            # In the frozen prefix, before anything is kept: the states that go in and come out, and a block's own.
            rows = tokens if forward.device == "cuda" else min(tokens, _window(self.settings.data))
            states = 2 * tokens * forward.hidden * size.width
            moments.append(states + rows * activations.momentary(forward, backward=False) + matrix)
        return int(max(moments))

    def _step(self) -> int:
        """What an optimizer step needs in addition to its state: a few numbers for each that it moves at a time."""
        workers, trained = self.settings.scaling.num_workers, self.trained
        if self.settings.zero.stage > 0:
            return 3 * FLOAT32 * trained.total // workers
        # All at once on a GPU, tensor by tensor on a CPU; and gradients are laid end to end to be summed over workers.
        moved = trained.total if self.settings.scaling.use_gpu else trained.largest
        return 2 * FLOAT32 * moved + FLOAT32 * trained.total
