"""Parts of the control against naive models, in Amaranth's own simulator."""

import os
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from amaranth.lib import wiring
from amaranth.sim import Simulator

from gossamer.arch.errors import GossamerError
from gossamer.arch.isa import SEMAPHORE_BITS
from gossamer.rtl.control.counters import Counters
from gossamer.rtl.control.queue import InstructionQueue, QueueDepth
from gossamer.rtl.control.semaphore import Semaphore

SEED = int(os.environ.get("GOSSAMER_SEED", "20262"))


def simulate(component: wiring.Component, bench: Callable[..., Any]) -> None:
    simulator = Simulator(component)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


@pytest.mark.parametrize("depth", [1, 2, 3, 5])
def test_queue_is_first_in_first_out(depth: int) -> None:
    random = np.random.default_rng((SEED, depth))
    queue, model = InstructionQueue(depth), deque[int]()
    popped = []

    async def bench(context: Any) -> None:
        for cycle in range(400):
            push = bool(random.random() < (0.7 if cycle < 200 else 0.3)) and bool(context.get(queue.room))
            pop = bool(random.random() < 0.5) and bool(context.get(queue.valid))
            clear = cycle == 100
            word = int(random.integers(0, 2**62))
            for port, value in ((queue.push, push), (queue.pop, pop), (queue.clear, clear), (queue.instruction, word)):
                context.set(port, value)
            assert context.get(queue.room) == (len(model) < depth)
            assert context.get(queue.rooms) == (len(model) < depth - 1)
            assert context.get(queue.valid) == bool(model)
            if model:
                assert context.get(queue.head) == model[0]
            if pop:
                popped.append(model.popleft())
            if push:
                model.append(word)
            if clear:
                model.clear()
            await context.tick()

    simulate(queue, bench)
    assert len(popped) > 50


def test_queue_without_room_is_refused() -> None:
    with pytest.raises(QueueDepth, match="`depth` of an instruction queue must be at least 1, not 0"):
        InstructionQueue(0)


@pytest.mark.parametrize("bits", [2, SEMAPHORE_BITS])
def test_semaphore_counts_and_tells_of_overflow(bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gossamer.rtl.control.semaphore.SEMAPHORE_BITS", bits)
    random = np.random.default_rng((SEED, bits))
    semaphore, overflows = Semaphore(), []

    async def bench(context: Any) -> None:
        tokens, overflow = 0, False
        for cycle in range(500):
            take = tokens > 0 and bool(random.random() < 0.4)
            give, clear = bool(random.random() < 0.6), cycle == 250
            for port, value in ((semaphore.give, give), (semaphore.take, take), (semaphore.clear, clear)):
                context.set(port, value)
            assert context.get(semaphore.available) == (tokens > 0)
            assert context.get(semaphore.overflow) == overflow
            overflow = give and not take and tokens == 2**bits - 1 and not clear
            overflows.append(overflow)
            tokens = 0 if clear else min(2**bits - 1, tokens + give - take)
            await context.tick()

    simulate(semaphore, bench)
    assert any(overflows) == (bits == 2)


def test_one_counter_is_refused() -> None:
    with pytest.raises(GossamerError, match="`count` of counters must be at least 2, not 1"):
        Counters(1)
