"""What users would run otherwise, set up as its manual recommends; our own paths; and the upper limit.

Invariant: each contestant takes a `Workload` and returns a `Timing`; `measure` runs it in its own process, so none
affects another. Flow: suite -> [this] -> process -> one contestant.

- `hf_peft` (a): Hugging Face Trainer with PEFT's LoRA on all blocks, padded random batches of 8. What most users run.
- `paper` (b): the loop of Yang, Liu & Li (2023): padded random batches of 4, 8 accumulated, adapters above the cut, the
  whole backbone forward each step.
- `pipeline` (p): Hugging Face's token-classification pipeline, batches of 8 in input order.
- `bare` (the ceiling): plain PyTorch over the hidden states at the cut, packed, at its best batch size.
- `ours`, `ours_with_ray`: our own training path, without Ray and with it.
- `predictor`, `forward`: our own prediction, and the model's forward passes in it alone.
"""

from collections.abc import Mapping
from dataclasses import asdict
from importlib import import_module
from types import MappingProxyType
from typing import Any, NamedTuple

from liftray.bench import process
from liftray.bench.process import Child
from liftray.bench.workload import Timing, Workload


class Program(NamedTuple):
    """The program of a contestant.

    Attributes:
        function: `package.module:name` of `run(workload, **options) -> Timing`.
        imports: Libraries that it imports while it runs, so that its memory can be counted without them.
    """

    function: str
    imports: tuple[str, ...] = ()


_TRAINING = (
    "liftray.train.loop",
    "liftray.train.worker",
    "adapters.models",
    # Imported by `deepspeed.initialize`, together with PyTorch's compiler.
    "deepspeed.ops.op_builder.all_ops",
    "deepspeed.runtime.zero.muon.muon_optimizer",
    "transformers.models.esm.modeling_esm",
)

PROGRAMS: Mapping[str, Program] = MappingProxyType(
    {
        "hf_peft": Program("liftray.bench.competitors.hf_peft:run"),
        "paper": Program("liftray.bench.competitors.paper:run"),
        "pipeline": Program("liftray.bench.competitors.pipeline:run"),
        "bare": Program("liftray.bench.bare:run"),
        "ours": Program("liftray.bench.ours:run", _TRAINING),
        "ours_with_ray": Program("liftray.bench.ours:run_with_ray"),
        "predictor": Program("liftray.bench.ours_predict:predictor", ("adapters.models",)),
        "forward": Program("liftray.bench.ours_predict:forward", ("adapters.models",)),
        "products": Program("liftray.bench.ours_predict:products"),
    }
)


def measure(
    name: str, workload: Workload, *, threads: int = 1, options: Mapping[str, Any] | None = None
) -> tuple[Timing, Child]:
    """Run a contestant in its own process.

    Args:
        name: A key of PROGRAMS.
        workload: Its work.
        threads: Threads of torch.
        options: Further arguments of its function, ready for JSON.

    Returns:
        Its timing; and the process's seconds and memory.

    Raises:
        LiftrayError: The workload does not fit it, or a package that it needs is not installed.
    """
    order = {"name": name, "workload": asdict(workload), "options": dict(options or {})}
    program = PROGRAMS[name]
    imports = [program.function.partition(":")[0], *program.imports]
    child = process.run(f"{__name__}:timed", order, imports=imports, threads=threads, seed=workload.seed)
    return Timing(**child.result), child


def timed(name: str, workload: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """Run a contestant in this process; arguments and result are plain values."""
    module, _, function = PROGRAMS[name].function.partition(":")
    timing: Timing = getattr(import_module(module), function)(Workload(**workload), **options)
    return asdict(timing)
