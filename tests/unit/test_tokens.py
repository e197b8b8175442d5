"""Tokens against brute force: under any schedule the engines allow, no hazard is violated and nothing deadlocks."""

import time

import numpy as np
import pytest
from hand_programs import small_spec
from replay import replay

from gossamer.arch.config import fingerprint
from gossamer.arch.errors import MappingError
from gossamer.arch.isa import ENGINES
from gossamer.mapper import tokens
from gossamer.mapper.compile import compile_network
from gossamer.mapper.quantization.quantize import quantize
from gossamer.mapper.random_networks import random_network
from gossamer.mapper.tokens import ACCESSES, Accesses, derive_tokens

# Spaces each engine may touch, as (space, may write): LOAD, COMPUTE, VECTOR, STORE.
TOUCHES = (
    ((5, False), (0, True), (1, True), (3, True)),
    ((0, False), (1, False), (4, True)),
    ((4, False), (0, False), (3, False), (0, True)),
    ((0, False), (5, True)),
)


def random_program(rng: np.random.Generator, count: int, room: int) -> tuple[np.ndarray, Accesses]:
    """Return engines and accesses of a random instruction list over `room` addresses per space."""
    engine = rng.integers(0, len(ENGINES), count)
    accesses = Accesses(count)
    for i in range(count):
        touches = TOUCHES[engine[i]]
        for slot in range(int(rng.integers(1, ACCESSES + 1))):
            space, may_write = touches[int(rng.integers(len(touches)))]
            low = int(rng.integers(0, room))
            accesses.space[i, slot] = space
            accesses.low[i, slot] = low
            accesses.high[i, slot] = low + int(rng.integers(1, 4))
            accesses.writes[i, slot] = may_write
    return engine, accesses


def conflicts(accesses: Accesses, i: int, j: int) -> bool:
    """Say whether i and j share an address that one of them writes: set intersection, address by address."""

    def touched(k: int, writes: int) -> set[tuple[int, int]]:
        return {
            (int(accesses.space[k, s]), address)
            for s in range(ACCESSES)
            if accesses.space[k, s] >= 0 and accesses.writes[k, s] >= writes
            for address in range(accesses.low[k, s], accesses.high[k, s])
        }

    return bool(touched(i, 1) & touched(j, 0) or touched(i, 0) & touched(j, 1))


def run_randomly(
    rng: np.random.Generator, engine: np.ndarray, wait: np.ndarray, release: np.ndarray, depth: int
) -> list[tuple[int, set[int]]]:
    """Run the queues in a random legal order; return (instruction, instructions complete when it started)."""
    count, number = len(engine), len(ENGINES)
    tokens = np.zeros((number, number), dtype=int)  # [from][to]
    queues: list[list[int]] = [[] for _ in range(number)]
    running: list[int] = [-1] * number
    dispatched, done, starts = 0, set(), []
    while len(done) < count:
        moves = []
        if dispatched < count and len(queues[engine[dispatched]]) < depth:
            moves.append(("dispatch", 0))
        for e in range(number):
            if running[e] >= 0:
                moves.append(("finish", e))
            elif queues[e]:
                needs = [o for o in range(number) if wait[queues[e][0]] >> o & 1]
                if all(tokens[o, e] > 0 for o in needs):
                    moves.append(("start", e))
        assert moves, f"deadlock with {count - len(done)} instructions left"
        move, e = moves[int(rng.integers(len(moves)))]
        if move == "dispatch":
            queues[engine[dispatched]].append(dispatched)
            dispatched += 1
        elif move == "start":
            i = queues[e].pop(0)
            for o in range(number):
                tokens[o, e] -= wait[i] >> o & 1
            running[e] = i
            starts.append((i, set(done)))
        else:
            i, running[e] = running[e], -1
            for o in range(number):
                tokens[e, o] += release[i] >> o & 1
            done.add(i)
    assert (tokens == 0).all(), "a token was released that nobody takes"
    return starts


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("room", [4, 20])
def test_no_hazard_under_any_schedule(seed: int, room: int) -> None:
    rng = np.random.default_rng(seed)
    count = 60
    engine, accesses = random_program(rng, count, room)
    needed = [[j for j in range(i) if conflicts(accesses, i, j)] for i in range(count)]
    for limit in (1, 3, 2048):
        wait, release = derive_tokens(engine, accesses, scan_limit=limit)
        for depth in (1, 4):
            for i, complete in run_randomly(rng, engine, wait, release, depth):
                assert all(j in complete for j in needed[i]), (seed, limit, i)


def test_a_dropped_token_is_noticed() -> None:
    """The checker above can fail: without its waits a program with hazards breaks under some schedule."""
    rng = np.random.default_rng(5)
    engine, accesses = random_program(rng, 60, 4)
    nothing = np.zeros(60, dtype=np.int64)
    starts = run_randomly(rng, engine, nothing, nothing, 8)
    assert any(j not in complete for i, complete in starts for j in range(i) if conflicts(accesses, i, j))


def test_implied_waits_are_dropped() -> None:
    """LOAD -> COMPUTE -> VECTOR: the VECTOR that also reads the LOAD's range waits only for COMPUTE."""
    accesses = Accesses(3)
    for i, (space, writes) in enumerate([(0, 1), (0, 0), (0, 0)]):
        accesses.space[i, 0], accesses.low[i, 0], accesses.high[i, 0] = space, 0, 8
        accesses.writes[i, 0] = writes
    for i, writes in ((1, 1), (2, 0)):
        accesses.space[i, 1], accesses.low[i, 1], accesses.high[i, 1] = 4, 0, 8
        accesses.writes[i, 1] = writes
    wait, release = derive_tokens(np.array([0, 1, 2]), accesses)
    assert wait.tolist() == [0, 0b0001, 0b0010]
    assert release.tolist() == [0b0010, 0b0100, 0]


def test_no_conflict_no_token() -> None:
    accesses = Accesses(40)
    accesses.space[:, 0], accesses.low[:, 0], accesses.high[:, 0] = 0, np.arange(40) * 4, np.arange(40) * 4 + 4
    accesses.writes[:, 0] = 1
    wait, release = derive_tokens(np.arange(40) % 4, accesses)
    assert not wait.any()
    assert not release.any()


def test_two_hundred_thousand_instructions_are_fast() -> None:
    """A ping-pong pipeline of 200,000 instructions; the bound is generous for a loaded machine."""
    count = 200_000
    engine = np.tile([0, 0, 1, 2, 3], count // 5)
    tile = np.arange(count) // 5 % 2
    accesses = Accesses(count)
    columns = {0: (0, 0), 1: (1, 0), 2: (0, 0), 3: (0, 100), 4: (0, 100)}
    for k in range(5):
        rows = np.arange(k, count, 5)
        space, base = columns[k]
        one = np.ones(len(rows), np.int64)
        accesses.add(rows, 0, space, base + tile[rows] * 10, one * 10, writes=k in (0, 1, 3))
        if k in (2, 3):
            accesses.add(rows, 1, 4, tile[rows] * 10, one * 10, writes=k == 2)
    derive_tokens(engine[:10], Accesses(10))
    start = time.process_time()
    wait, _ = derive_tokens(engine, accesses)
    seconds = time.process_time() - start
    assert (wait != 0).sum() > count // 2
    assert seconds < 2.0, f"{seconds:.2f} s"


@pytest.mark.parametrize("seed", range(4))
def test_a_program_that_may_overflow_a_semaphore_is_refused(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The most tokens that any schedule holds are those an independent replay finds; one less is too few."""
    spec, network = small_spec(), quantize(random_network(seed, most_m=8))
    program = compile_network(network, spec, config_fingerprint=fingerprint(spec))
    values = {name: np.zeros(network.tensors[name].shape, np.int8) for name in network.inputs}
    most = replay(program, spec, values, seed=seed, schedules=0).max_tokens
    monkeypatch.setattr(tokens, "MOST_TOKENS", most)
    compile_network(network, spec, config_fingerprint=fingerprint(spec))
    monkeypatch.setattr(tokens, "MOST_TOKENS", most - 1)
    with pytest.raises(MappingError, match=rf"can run ahead of \w+ by {most} tokens, and a semaphore holds at most"):
        compile_network(network, spec, config_fingerprint=fingerprint(spec))
