"""Joining a Ray cluster, or starting one of this job's own.

Invariant: a job that starts a cluster of its own stops it; one that joins a cluster leaves it as it was.
"""

import logging
import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from liftray.config import RunSettings, ScalingSettings
from liftray.errors import ClusterError
from liftray.progress import duration, show_line

# CPUs of Ray's own light actors, in addition to the workers'.
_SPARE_CPUS = 1
_WAIT_POLL_S, _WAIT_LINE_S = 1.0, 30.0
# What Ray adds to its temporary directory, with a process id of seven digits, and the longest socket path of Linux.
_RAY_SOCKET = "ray/session_2026-01-01_00-00-00_000000_0000000/sockets/plasma_store"
_MOST_SOCKET_BYTES = 107


def check(run: RunSettings, scaling: ScalingSettings) -> None:
    """Find out, without starting or joining anything, what would keep `connected` from working.

    Raises:
        ClusterError: Nothing listens at the address, or a cluster of this job's own lacks GPUs or has no place for its
            sockets.
    """
    address = _address(run)
    if not address:
        _check_sockets()
    if address:
        _reach(address)
    elif scaling.use_gpu:
        import torch

        have = torch.cuda.device_count()
        if have < scaling.num_workers:
            raise ClusterError(
                f"{scaling.num_workers} workers want a GPU each and this machine has {have}",
                remedy="set scaling.use_gpu=false, lower scaling.num_workers, or name a cluster in run.ray_address",
            )
    if not address and (warning := crowding(scaling, len(os.sched_getaffinity(0)))):
        show_line(f"warning: {warning}")


def crowding(scaling: ScalingSettings, cores: int) -> str | None:
    """The warning for workers that need more CPUs than a machine has; None where they fit.

    Args:
        scaling: The workers and their CPUs.
        cores: CPU cores that this process may use.
    """
    needed = scaling.num_workers * scaling.cpus_per_worker
    if needed <= cores:
        return None
    fit = int(cores / scaling.cpus_per_worker)
    remedy = f"scaling.num_workers={fit} fits" if fit else f"scaling.cpus_per_worker={cores} fits"
    return (
        f"scaling.num_workers={scaling.num_workers} needs {needed:g} CPUs and this machine has {cores}, which slows "
        f"the workers down; {remedy}"
    )


def _check_sockets() -> None:
    """Refuse a temporary directory whose name is too long for Ray's sockets."""
    name = next((name for name in ("RAY_TMPDIR", "TMPDIR") if os.environ.get(name) is not None), None)
    folder = os.environ[name] if name else "/tmp"
    most = _MOST_SOCKET_BYTES - len(_RAY_SOCKET) - 1
    if len(os.fsencode(folder)) > most:
        raise ClusterError(
            f"{name} has {len(os.fsencode(folder))} bytes, and the paths of Ray's sockets leave it {most}",
            where=folder,
            remedy="set RAY_TMPDIR to a shorter directory, such as RAY_TMPDIR=/tmp",
        )


@contextmanager
def connected(
    run: RunSettings, scaling: ScalingSettings, *, runs_at_a_time: int = 1, dashboard: bool = False
) -> Iterator[None]:
    """Be connected to Ray while the block runs.

    Args:
        run: The cluster is that of `run.ray_address`, else that of RAY_ADDRESS, else one of this job's own.
        scaling: Workers of a run; a cluster of this job's own has CPUs enough for them.
        runs_at_a_time: Runs at the same time, each with its own workers.
        dashboard: Start the dashboard with a cluster of this job's own: Tune frees the workers of a trial that it
            stopped early through the dashboard's State API.

    Raises:
        ClusterError: The address does not answer or refuses the token, or the cluster does not grow to
            the size of the run within `scaling.wait_s`.
    """
    import ray

    if ray.is_initialized():
        _wait_for_size(scaling)
        yield
        return
    address = _address(run)
    options = {"logging_level": logging.ERROR, "log_to_driver": False, "configure_logging": True}
    with _same_sigterm_handler():
        if address:
            _reach(address)
            try:
                ray.init(address=address, **options)
            except Exception as error:  # Ray raises many kinds here; each means the same to the user.
                raise _unreachable(address, error) from error
            show_line(f"ray: joined {address}")
        else:
            _check_sockets()
            wanted = math.ceil(scaling.num_workers * scaling.cpus_per_worker)
            cpus = max(os.cpu_count() or 1, (wanted + _SPARE_CPUS) * runs_at_a_time)
            ray.init(address="local", num_cpus=cpus, include_dashboard=dashboard, **options)
            show_line(f"ray: started a cluster of this job's own ({cpus} CPUs to Ray)")
    try:
        _wait_for_size(scaling)
        yield
    finally:
        ray.shutdown()


@contextmanager
def _same_sigterm_handler() -> Iterator[None]:
    """Keep this process's handler of SIGTERM, which Ray replaces.

    Ray's own ends its processes under the driver's feet: calls that are under way abort with a dump of the stack.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _address(run: RunSettings) -> str | None:
    return run.ray_address or os.environ.get("RAY_ADDRESS")


def _reach(address: str) -> None:
    """Fail in a second where nothing listens: Ray itself would try for half a minute."""
    import socket

    if address.startswith("http"):
        raise ClusterError(
            f"{address} is where jobs are submitted, not a Ray cluster to join",
            remedy="run it with: ray job submit --working-dir . -- python jobs/NAME.py ..., or unset RAY_ADDRESS",
        )
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if address == "auto" or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except OSError as error:
        raise _unreachable(address, error) from error


def _unreachable(address: str, error: Exception) -> ClusterError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return ClusterError(
        f"no Ray cluster answers at {address} ({reason})",
        remedy="check run.ray_address or RAY_ADDRESS and the token (cluster/README.md), or unset it to run locally",
    )


def _wait_for_size(scaling: ScalingSettings) -> None:
    """Wait until the cluster has room for the workers; an autoscaler is asked for what they need.

    Raises:
        ClusterError: It has not grown to that within `scaling.wait_s`.
    """
    missing = _missing(scaling)
    if not missing:
        return
    from ray.autoscaler.sdk import request_resources

    worker = {"CPU": scaling.cpus_per_worker, **({"GPU": 1} if scaling.use_gpu else {})}
    request_resources(bundles=[worker] * scaling.num_workers)
    start = last_line = time.monotonic()
    show_line(f"ray: waiting up to {duration(scaling.wait_s)} for nodes: {missing}")
    try:
        while missing:
            now = time.monotonic()
            if now - start >= scaling.wait_s:
                raise ClusterError(
                    missing,
                    remedy="lower scaling.num_workers or scaling.cpus_per_worker, add nodes, or raise scaling.wait_s",
                )
            if now - last_line >= _WAIT_LINE_S:
                last_line = now
                show_line(f"ray: still waiting: {missing}")
            time.sleep(_WAIT_POLL_S)
            missing = _missing(scaling)
    finally:
        request_resources(bundles=[])  # the run's own placement group takes over
    show_line(f"ray: the nodes are there after {duration(time.monotonic() - start)}")


def _missing(scaling: ScalingSettings) -> str:
    """What the cluster lacks for the workers; empty where it lacks nothing."""
    import ray

    have = ray.cluster_resources()
    wanted = {
        "CPU": scaling.num_workers * scaling.cpus_per_worker,
        "GPU": float(scaling.num_workers * scaling.use_gpu),
    }
    return ", ".join(
        f"{scaling.num_workers} workers want {amount:g} {kind}s and the Ray cluster has {have.get(kind, 0):g}"
        for kind, amount in wanted.items()
        if amount > have.get(kind, 0.0)
    )
