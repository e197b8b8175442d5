"""Evaluate chunks on a dask.distributed cluster, with the same results as here, bit for bit."""

from contextlib import ExitStack
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gossamer.arch.errors import GossamerError
from gossamer.explore.evaluate import Evaluator
from gossamer.explore.pool import ChunkResult, Job, evaluate_chunk

_CONNECT_SECONDS = 20
_AHEAD = 2

_LOCK = Lock()
_EVALUATORS: dict[str, Evaluator] = {}
"""On a worker: the evaluator of the sweep it works for. One at a time uses it."""


class ClusterPool:
    """Evaluate on the workers of a running cluster. Dask replaces what a worker that dies held."""

    def __init__(self, job: Job, address: str, token: str) -> None:
        """Connect to the scheduler at `address` and wait until a worker has its evaluator.

        token: names the sweep among all those a worker may have seen.
        """
        try:
            import distributed
        except ImportError:
            raise GossamerError("--cluster needs dask.distributed: pip install 'gossamer[cluster]'") from None
        try:
            dask: Any = distributed
            self._client: Any = dask.Client(address, timeout=_CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError, TypeError) as error:
            raise GossamerError(
                f"--cluster {address}: no scheduler answers there ({error}); start one with `dask scheduler` and give "
                "its address, such as tcp://host:8786"
            ) from None
        self._job, self._token = job, token
        self._submitted: dict[Any, tuple[int, NDArray[np.int64]]] = {}
        self._completed: Any = dask.as_completed(loop=self._client.loop)
        workers = self._client.scheduler_info(n_workers=-1)["workers"]
        self.capacity = _AHEAD * sum(worker["nthreads"] for worker in workers.values())
        with ExitStack() as undo:
            undo.callback(self.close)
            if not workers:
                raise GossamerError(
                    f"--cluster {address}: the scheduler has no worker; start some with `dask worker {address}`"
                )
            self._result(self._client.submit(_evaluate, job, token, np.zeros(0, np.int64), pure=False))
            undo.pop_all()

    def submit(self, key: int, ids: NDArray[np.int64]) -> None:
        """Hand in a chunk under a key."""
        future = self._client.submit(_evaluate, self._job, self._token, ids, pure=False)
        self._submitted[future] = (key, ids)
        self._completed.add(future)

    def next(self) -> tuple[int, ChunkResult]:
        """Wait for a chunk."""
        future = next(self._completed)
        key, ids = self._submitted.pop(future)
        return key, self._result(future, f"the chunk of points {ids.min()} to {ids.max()}")

    def close(self) -> None:
        """Cancel what is not done and leave the cluster."""
        self._client.cancel(list(self._submitted))
        self._client.close()

    def _result(self, future: Any, what: str = "the sweep") -> ChunkResult:
        from distributed import KilledWorker

        try:
            result: ChunkResult = future.result()
        except KilledWorker as error:
            raise GossamerError(f"{what} cannot be evaluated: {error}; completed points are kept") from None
        return result


def _evaluate(job: Job, token: str, ids: NDArray[np.int64]) -> ChunkResult:
    """Evaluate points on a worker."""
    with _LOCK:
        if token not in _EVALUATORS:
            _EVALUATORS.clear()
            _EVALUATORS[token] = job.evaluator()
        return evaluate_chunk(_EVALUATORS[token], job.space, ids)
