"""Hand-written Programs: executor, slow machine and closed form agree, and the replay finds every broken promise."""

from dataclasses import replace

import numpy as np
import pytest
from hand_programs import binding, constants_address, layer, program_of, small_spec
from replay import replay
from replay_twin import ReplayError

from gossamer.arch.encoding import decode, encode
from gossamer.arch.isa import Opcode
from gossamer.dataflow.assembly import assemble
from gossamer.dataflow.numerics import HEADER_DTYPE, REQUANTIZE_DTYPE
from gossamer.dataflow.program import Program
from gossamer.dataflow.program_file import parse_program, program_bytes
from gossamer.sim.golden.executor import execute, execute_memory

SEED = 11
IMAGES, SIZE, CHANNELS, CLASSES = 3, 4, 8, 6
ZERO_IN, ZERO_OUT = -9, 4
WEIGHT_BYTES = 3 * 3 * 8 * 8
REQUANTIZE_BYTES = 32 + 12 * 8
SOFTMAX_BYTES = 32 + 4 * 256
SPEC = small_spec()

CONSTANTS = """
LOAD space=WEIGHT     dram={weight} run_bytes=576
LOAD space=PARAMETER  dram={requantize} run_bytes=128
LOAD space=PARAMETER  dram={softmax} run_bytes=1056 dst=256
"""

PER_IMAGE = """
LOAD {first_wait} dram={image} dram_y=32 ny=4 run_bytes=32 dst_y=48 {pads} fill=247 release=compute
COMPUTE {second_wait} a_y=48 a_x=8 ny=4 nx=4 n_ry=3 r_y=48 run_words=3 steps=8 chains_active=8 release=load,vector
REQUANTIZE wait=compute ny=4 nx=4 d=512 d_y=32 d_x=8 release=compute
MAXIMUM a=512 a_y=64 a_x=16 a_ky=32 a_kx=8 kh=2 kw=2 ny=2 nx=2 d=1024 d_y=16 d_x=8
SOFTMAX {fourth_wait} a=1024 a_y=16 a_x=8 ny=2 nx=2 d=1088 d_y=16 d_x=8 par=256 release=store
STORE wait=vector dram={scores} run_bytes=32 src=1088 release=vector
"""


def weights() -> np.ndarray:
    """Return int8 (out channel, kernel row, kernel column, in channel) without zeros."""
    random = np.random.default_rng(SEED)
    values = random.integers(1, 128, (CHANNELS, 3, 3, CHANNELS)) * random.choice([-1, 1], (CHANNELS, 3, 3, CHANNELS))
    return values.astype(np.int8)


def packed_weights() -> bytes:
    """Return rows of 8 chains in the order (kernel row, step, kernel column): one fold of 3 words per kernel row."""
    return weights().transpose(1, 3, 2, 0).tobytes()


def requantize_block() -> bytes:
    header = np.zeros(1, HEADER_DTYPE)
    header["zero_out"], header["low"], header["high"] = ZERO_OUT, -128, 127
    entries = np.zeros(CHANNELS, REQUANTIZE_DTYPE)
    entries["bias"] = np.arange(CHANNELS) * 1000 - ZERO_IN * weights().astype(np.int64).sum(axis=(1, 2, 3))
    entries["multiplier"], entries["shift"] = 2**30 + np.arange(CHANNELS), 40
    return header.tobytes() + entries.tobytes()


def exponentials() -> np.ndarray:
    return np.maximum(1, np.rint(2**24 * np.exp(-np.arange(256) / 20))).astype("<u4")


def softmax_block() -> bytes:
    header = np.zeros(1, HEADER_DTYPE)
    header["zero_out"], header["channels"] = -128, CLASSES
    return header.tobytes() + exponentials().tobytes()


def assembly(start: int, tensors: int) -> str:
    """Return the text of the program for IMAGES images; only the tokens it needs."""
    text = CONSTANTS.format(
        weight=start, requantize=start + WEIGHT_BYTES, softmax=start + WEIGHT_BYTES + REQUANTIZE_BYTES
    )
    for image in range(IMAGES):
        text += PER_IMAGE.format(
            image=tensors + 128 * image,
            scores=tensors + 128 * IMAGES + 32 * image,
            first_wait="wait=compute" if image else "",
            pads="pad_top=1 pad_bottom=1 pad_left=8 pad_right=8",
            second_wait="wait=load,vector" if image else "wait=load",
            fourth_wait="wait=store" if image else "",
        )
    return text


def sample() -> Program:
    """Return a convolution, max pooling and softmax over a batch of images, one after the other in the same buffers."""
    image = packed_weights() + requantize_block() + softmax_block()
    count = 3 + 6 * IMAGES
    start = constants_address(count)
    tensors = start + -(-len(image) // 64) * 64
    words = assemble(assembly(start, tensors))
    lines = []
    for word in words:
        fields = decode(word)
        lines.append((Opcode(fields.pop("opcode")), fields))
    assert len(lines) == count
    pooled = SIZE // 2
    return program_of(
        SPEC,
        lines,
        np.frombuffer(image, dtype=np.uint8),
        working_bytes=128 * IMAGES + 32 * IMAGES,
        inputs=(binding("image", tensors, (IMAGES, SIZE, SIZE, CHANNELS), 8, ZERO_IN),),
        outputs=(binding("scores", tensors + 128 * IMAGES, (IMAGES, pooled, pooled, CLASSES), 8, -128),),
        layers=(layer(macs=IMAGES * SIZE * SIZE * weights().size),),
    )


def images() -> dict[str, np.ndarray]:
    random = np.random.default_rng(SEED + 1)
    return {"image": random.integers(-128, 128, (IMAGES, SIZE, SIZE, CHANNELS)).astype(np.int8)}


def expected() -> np.ndarray:
    """Return the scores in closed form: numpy convolution, pooling and softmax on the arrays themselves."""
    centred = images()["image"].astype(np.int64) - ZERO_IN
    padded = np.pad(centred, ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    sums = np.einsum("byxikl,oklj->byxoij", windows, weights().astype(np.int64))
    sums = np.einsum("byxoii->byxo", sums) + np.arange(CHANNELS) * 1000
    scaled = np.floor(sums * (2.0**30 + np.arange(CHANNELS)) / 2.0**40 + 0.5).astype(np.int64)
    quantized = np.clip(ZERO_OUT + scaled, -128, 127)
    pooled = quantized.reshape(IMAGES, 2, 2, 2, 2, CHANNELS).max(axis=(2, 4))[..., :CLASSES]
    terms = exponentials().astype(np.int64)[pooled.max(axis=-1, keepdims=True) - pooled]
    total = terms.sum(axis=-1, keepdims=True)
    return np.clip(-128 + (terms * 256 + total // 2) // total, -128, 127)


def edited(program: Program, at: int, **changes: int) -> Program:
    """Return the program with fields of one instruction changed."""
    fields = decode(program.instructions[at]) | changes
    words = program.instructions.copy()
    words[at] = encode(Opcode(fields.pop("opcode")), fields)
    return replace(program, instructions=words)


def test_executor_replay_and_closed_form_agree() -> None:
    program = sample()
    seen = replay(program, SPEC, images(), SEED, schedules=20)
    np.testing.assert_array_equal(seen.outputs["scores"], expected())
    np.testing.assert_array_equal(execute(program, SPEC, images())["scores"], expected())
    assert seen.macs == {0: program.layers[0].macs}
    assert seen.conflicts_checked > 1000
    assert 1 <= seen.max_tokens <= 2
    output = program.outputs[0]
    written = slice(output.address, output.address + 32 * IMAGES)
    np.testing.assert_array_equal(execute_memory(program, SPEC, images())[written], seen.memory[written])


def test_the_file_runs_as_the_program_does() -> None:
    program = parse_program(program_bytes(sample()))
    np.testing.assert_array_equal(execute(program, SPEC, images())["scores"], expected())


def token_pairs(program: Program) -> list[tuple[int, int, int, int]]:
    """Return (releasing instruction, its mask bit, waiting instruction, its mask bit) of every token taken."""
    engines = [["LOAD"], ["COMPUTE"], ["REQUANTIZE", "MAXIMUM", "SOFTMAX"], ["STORE"]]
    names = [Opcode(decode(word)["opcode"]).name for word in program.instructions]
    engine = [next((e for e, members in enumerate(engines) if name in members), -1) for name in names]
    pairs = []
    for giver in range(4):
        for taker in range(4):
            words = program.instructions
            gives = [
                i for i in range(len(words) - 1) if engine[i] == giver and decode(words[i])["release"] >> taker & 1
            ]
            takes = [i for i in range(len(words) - 1) if engine[i] == taker and decode(words[i])["wait"] >> giver & 1]
            pairs += [(give, 1 << taker, take, 1 << giver) for give, take in zip(gives, takes, strict=False)]
    return pairs


def test_every_token_is_needed() -> None:
    """Mutants: without any one pair of release and wait the vector clocks must find an unordered conflict."""
    program = sample()
    pairs = token_pairs(program)
    assert len(pairs) == 6 * IMAGES - 3
    for give, give_bit, take, take_bit in pairs:
        mutant = edited(program, give, release=decode(program.instructions[give])["release"] & ~give_bit)
        mutant = edited(mutant, take, wait=decode(program.instructions[take])["wait"] & ~take_bit)
        with pytest.raises(ReplayError, match="no token orders it after"):
            replay(mutant, SPEC, images(), SEED, schedules=0)


def test_random_schedules_find_races_too() -> None:
    """The concurrent machine, with the proof by clocks left out, must also notice a missing token."""
    from replay import RaceCheck

    program = sample()
    give, give_bit, take, take_bit = token_pairs(program)[0]
    mutant = edited(program, give, release=decode(program.instructions[give])["release"] & ~give_bit)
    mutant = edited(mutant, take, wait=decode(program.instructions[take])["wait"] & ~take_bit)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RaceCheck, "step", lambda *_: None)
        with pytest.raises(ReplayError, match=r"reads other bytes|is being written|in use"):
            replay(mutant, SPEC, images(), SEED, schedules=40)


def test_a_missing_token_is_a_deadlock() -> None:
    program = sample()
    with pytest.raises(ReplayError, match="deadlock"):
        replay(edited(program, 3, release=0), SPEC, images(), SEED)


def test_reading_what_was_never_written() -> None:
    with pytest.raises(ReplayError, match=r"instruction 4 .*reads 288 of space 0, which was never written"):
        replay(edited(sample(), 4, a=8), SPEC, images(), SEED)
    scores = sample().outputs[0].address
    with pytest.raises(ReplayError, match=r"LOAD.* of space 5, which was never written"):
        replay(edited(sample(), 3, dram=scores, ny=1), SPEC, images(), SEED)


def test_leaving_a_buffer() -> None:
    with pytest.raises(ReplayError, match="is beyond 4096"):
        replay(edited(sample(), 4, a=4096 - 64), SPEC, images(), SEED)


def test_writing_constants_and_instructions() -> None:
    with pytest.raises(ReplayError, match="writes instructions or constants"):
        replay(edited(sample(), 8, dram=64), SPEC, images(), SEED)


def test_multiplying_twice() -> None:
    """A COMPUTE repeated without clearing adds every product a second time."""
    program = sample()
    words = np.insert(program.instructions, 5, program.instructions[4], axis=0)
    mutant = replace(program, instructions=words, layer_of=np.insert(program.layer_of, 5, np.int32(0)))
    mutant = edited(edited(mutant, 4, release=0), 5, wait=0, clear=0)
    # One word more: the constants and tensors move by 64 bytes.
    moved = [
        replace(r, address=r.address + 64) if r.address else replace(r, size_bytes=words.size) for r in mutant.regions
    ]
    for at in range(len(words)):
        if "dram" in decode(words[at]):
            mutant = edited(mutant, at, dram=decode(mutant.instructions[at])["dram"] + 64)
    mutant = replace(
        mutant,
        regions=tuple(moved),
        inputs=tuple(replace(b, address=b.address + 64) for b in program.inputs),
        outputs=tuple(replace(b, address=b.address + 64) for b in program.outputs),
    )
    with pytest.raises(ReplayError, match="9216 products were added to a sum twice"):
        replay(mutant, SPEC, images(), SEED)


def test_output_that_is_never_stored() -> None:
    program = sample()
    with pytest.raises(ReplayError, match="output scores: byte 95 of 96 never written"):
        replay(edited(program, len(program.instructions) - 2, run_bytes=31), SPEC, images(), SEED)
