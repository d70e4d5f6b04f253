"""Many fits at once: a process a core, one thread each, so that times stay comparable."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any

import torch


def one_thread() -> None:
    """Keep this process to one thread."""
    torch.set_num_threads(1)


def in_processes(call: Callable[..., Any], jobs: Iterable[tuple[Any, ...]]) -> None:
    """``call(*job)`` for every job, started in order, for what it leaves on disk.

    Raises:
        Exception: of the first job that fails; those not yet started are dropped.
    """
    os.environ["OMP_NUM_THREADS"] = "1"  # of numpy's own threads, in the processes to come
    workers = len(os.sched_getaffinity(0))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=one_thread) as pool:
        running = [pool.submit(call, *job) for job in jobs]
        try:
            for done in as_completed(running):
                done.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
