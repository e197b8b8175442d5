"""Evaluate chunks of points: in this process, or in worker processes of this machine that may die."""

import multiprocessing
import signal
from collections import deque
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gossamer.arch.errors import GossamerError
from gossamer.explore.evaluate import Evaluator, EvaluatorFactory, Results
from gossamer.explore.identity import code_identity
from gossamer.explore.space import Space
from gossamer.explore.spec import SweepSpec

MAX_REPEATS = 3
"""How often a chunk is done again after its worker died."""

_AHEAD = 2
"""Chunks a worker holds: one to work on, one to go on with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a worker needs to evaluate points of a sweep; pickled to it."""

    factory: EvaluatorFactory
    spec: SweepSpec
    space: Space
    code: Mapping[str, str]

    def evaluator(self) -> Evaluator:
        """Return the evaluator. Raises GossamerError if the code here is not the code of the sweep."""
        here = code_identity()
        differing = [name for name in here if here[name] != self.code.get(name)]
        if differing:
            raise GossamerError(
                f"a worker must have the same {' and '.join(differing)} as the sweep; install the same version there"
            )
        return self.factory(self.spec, self.space)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkResult:
    """A chunk done: results of its points, and how many of its ids conditions left out."""

    results: Results
    excluded: int


def evaluate_chunk(evaluator: Evaluator, space: Space, ids: NDArray[np.int64]) -> ChunkResult:
    """Return the results of those of ids int64 [n] that are points."""
    points = ids[space.included(ids)]
    return ChunkResult(results=evaluator.evaluate(points), excluded=len(ids) - len(points))


class Pool(Protocol):
    """Whoever evaluates chunks. Making one raises GossamerError if the evaluator cannot be made."""

    @property
    def capacity(self) -> int:
        """Chunks to have submitted at a time."""
        ...

    def submit(self, key: int, ids: NDArray[np.int64]) -> None:
        """Hand in a chunk under a key."""
        ...

    def next(self) -> tuple[int, ChunkResult]:
        """Wait for one of the submitted chunks, in any order. Raises GossamerError if it cannot be evaluated."""
        ...

    def close(self) -> None:
        """Drop what is not done and let the workers go."""
        ...


class InProcess:
    """Evaluate in this process."""

    capacity = 1

    def __init__(self, job: Job) -> None:
        self._space = job.space
        self._evaluator = job.evaluator()
        self._waiting: deque[tuple[int, NDArray[np.int64]]] = deque()

    def submit(self, key: int, ids: NDArray[np.int64]) -> None:
        """Hand in a chunk under a key."""
        self._waiting.append((key, ids))

    def next(self) -> tuple[int, ChunkResult]:
        """Evaluate the chunk handed in first."""
        key, ids = self._waiting.popleft()
        return key, evaluate_chunk(self._evaluator, self._space, ids)

    def close(self) -> None:
        """Do nothing."""


@dataclass(slots=True)
class _Worker:
    """A worker process, our end of its pipe, and the keys it holds, the one it works on first."""

    process: Any
    pipe: Connection
    held: list[int] = field(default_factory=list)


class LocalPool:
    """Evaluate in processes of this machine. One that dies is replaced, and what it held is done again."""

    def __init__(self, job: Job, workers: int) -> None:
        """Start the workers and wait until each has its evaluator."""
        self._job = job
        self._context = multiprocessing.get_context("spawn")
        self._chunks: dict[int, NDArray[np.int64]] = {}
        self._deaths: dict[int, int] = {}
        self._done: deque[tuple[int, ChunkResult]] = deque()
        self._workers: list[_Worker] = []
        with ExitStack() as undo:
            undo.callback(self.close)
            for _ in range(workers):
                self._workers.append(self._start())
            for worker in self._workers:
                self._wait_until_ready(worker)
            undo.pop_all()

    @property
    def capacity(self) -> int:
        """Chunks to have submitted at a time."""
        return _AHEAD * len(self._workers)

    def submit(self, key: int, ids: NDArray[np.int64]) -> None:
        """Hand in a chunk under a key."""
        self._chunks[key] = ids
        self._send(min(self._workers, key=lambda worker: len(worker.held)), key)

    def next(self) -> tuple[int, ChunkResult]:
        """Wait for a chunk; dead workers are noticed here."""
        while not self._done:
            ready = wait([worker.pipe for worker in self._workers])
            for worker in [worker for worker in self._workers if worker.pipe in ready]:
                self._receive(worker)
        return self._done.popleft()

    def close(self) -> None:
        """End the workers."""
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.join()
            worker.pipe.close()
        self._workers = []

    @property
    def processes(self) -> list[int]:
        """Process ids of the workers."""
        return [worker.process.pid for worker in self._workers]

    def _start(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(theirs, self._job), daemon=True)
        # An interrupt from the keyboard goes to the whole group; a worker is ended by its pipe alone, from the start.
        previous = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, previous)
        theirs.close()
        return _Worker(process, ours)

    def _wait_until_ready(self, worker: _Worker) -> None:
        try:
            message = worker.pipe.recv()
        except (EOFError, OSError):
            worker.process.join()
            code = worker.process.exitcode
            hint = "; if memory is short, try fewer --workers" if code < 0 else ""
            raise GossamerError(f"a worker died while it started (exit code {code}){hint}") from None
        if isinstance(message, GossamerError):
            raise message

    def _send(self, worker: _Worker, key: int) -> None:
        worker.held.append(key)
        try:
            worker.pipe.send((key, self._chunks[key]))
        except OSError:  # it is dead: `_receive` will find the pipe at its end, with the key among those held
            return

    def _receive(self, worker: _Worker) -> None:
        """Take one message of a worker, or replace it if it is dead."""
        try:
            key, answer = worker.pipe.recv()
        except (EOFError, OSError):
            self._replace(worker)
            return
        if isinstance(answer, GossamerError):
            raise answer
        worker.held.remove(key)
        del self._chunks[key]
        self._done.append((key, answer))

    def _replace(self, dead: _Worker) -> None:
        """Start a worker in the place of a dead one and hand it what that one held."""
        dead.process.join()
        dead.pipe.close()
        if dead.held:
            working = dead.held[0]
            self._deaths[working] = self._deaths.get(working, 0) + 1
            if self._deaths[working] > MAX_REPEATS:
                ids = self._chunks[working]
                raise GossamerError(
                    f"the chunk of points {ids.min()} to {ids.max()} cannot be evaluated: {self._deaths[working]} "
                    f"workers died of it, the last with exit code {dead.process.exitcode}; all other completed points "
                    "are kept"
                )
        worker = self._start()
        self._workers[self._workers.index(dead)] = worker
        self._wait_until_ready(worker)
        for key in dead.held:
            self._send(worker, key)


def _serve(pipe: Connection, job: Job) -> None:
    """Evaluate the chunks that come through a pipe, until its other end is closed or its process gone.

    What is no GossamerError is a defect: its traceback goes to stderr, and the worker dies of it.
    """
    try:
        try:
            evaluator = job.evaluator()
        except GossamerError as error:
            pipe.send(error)
            return
        pipe.send(None)
        while True:
            key, ids = pipe.recv()
            answer: ChunkResult | GossamerError
            try:
                answer = evaluate_chunk(evaluator, job.space, ids)
            except GossamerError as error:
                answer = error
            pipe.send((key, answer))
    except (EOFError, OSError):
        return
