"""Share the work of one kernel call between the processors this process may use.

Kernels release the GIL and take a range of independent items, so plain threads do; numba's own parallel loops would
make every kernel several times slower to compile.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import Any

PIECES_PER_THREAD = 4
"""A thread that is held up by other work on the machine leaves pieces to the others."""


def thread_count() -> int:
    """Return how many processors this process may use; GOSSAMER_THREADS, a positive integer, overrides it."""
    given = os.environ.get("GOSSAMER_THREADS", "")
    if given.isdecimal() and int(given) > 0:
        return int(given)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="golden")


if hasattr(os, "register_at_fork"):
    # Threads do not survive a fork; a pool that believes it has them would wait for ever.
    os.register_at_fork(after_in_child=_pool.cache_clear)


def share(kernel: Callable[..., Any], items: int, *arguments: Any) -> None:
    """Run kernel(*arguments, begin, end) over pieces of 0 .. items - 1 until all of them are done."""
    threads = thread_count()
    pieces = min(items, threads * PIECES_PER_THREAD)
    if threads == 1 or pieces <= 1:
        kernel(*arguments, 0, items)
        return
    bounds = [items * piece // pieces for piece in range(pieces + 1)]
    waiting = [_pool(threads).submit(kernel, *arguments, begin, end) for begin, end in pairwise(bounds)]
    for piece in waiting:
        piece.result()
