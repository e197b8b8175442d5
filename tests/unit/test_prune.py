"""Pruning to N:M: closed forms, brute force per group, overrides, detection, messages."""

from dataclasses import replace

import numpy as np
import pytest

from gossamer.arch.errors import ModelError
from gossamer.dataflow.network import Conv2d, Network, Tensor
from gossamer.dataflow.sparsity import NmPattern
from gossamer.mapper.pruning.kernels import count_nonzeros, select_largest
from gossamer.mapper.pruning.prune import (
    CANDIDATES,
    check_group_size,
    check_pattern,
    detect_pattern,
    load_overrides,
    magnitude_mask,
    pattern_note,
    prune,
)

SEED = 20


def naive_mask(weight, pattern):
    """Return the mask by sorting every group: twin of select_largest."""
    mask = np.zeros(weight.shape, bool)
    for index in np.ndindex(weight.shape[:-1]):
        row = weight[index]
        for start in range(0, len(row), pattern.m):
            group = [(-abs(float(value)), start + i) for i, value in enumerate(row[start : start + pattern.m])]
            for _, position in sorted(group)[: pattern.n]:
                mask[(*index, position)] = True
    return mask


def naive_most(weight, m):
    """Return the most nonzeros of any group of m: twin of count_nonzeros."""
    rows = weight.reshape(-1, weight.shape[-1])
    return max(int(np.count_nonzero(row[s : s + m])) for row in rows for s in range(0, len(row), m))


def chain(weights, names=None, groups=None):
    """Return a network of convolutions one after another; only names and weights matter."""
    names = names or [f"conv{i}" for i in range(len(weights))]
    groups = groups or [1] * len(weights)
    tensors = {f"t{i}": Tensor(name=f"t{i}", shape=(1, 4, 4, 8)) for i in range(len(weights) + 1)}
    layers = tuple(
        Conv2d(name=name, inputs=(f"t{i}",), output=f"t{i + 1}", op="conv", weight=weight, groups=group)
        for i, (name, weight, group) in enumerate(zip(names, weights, groups, strict=True))
    )
    return Network(name="chain", inputs=("t0",), outputs=(f"t{len(weights)}",), tensors=tensors, layers=layers)


def random_weight(seed, shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("pattern", [*CANDIDATES, NmPattern(3, 4), NmPattern(7, 8), NmPattern(4, 4)], ids=str)
@pytest.mark.parametrize("channels", [1, 2, 3, 7, 8, 9, 16, 17, 31, 33])
def test_mask_equals_brute_force(pattern, channels):
    rng = np.random.default_rng(SEED + channels)
    weight = rng.normal(size=(3, 2, 3, channels)).astype(np.float32)
    tied = rng.integers(-2, 3, weight.shape).astype(np.float32)
    for values in (weight, tied, np.full_like(weight, 0.02), np.zeros_like(weight)):
        np.testing.assert_array_equal(magnitude_mask(values, pattern), naive_mask(values, pattern))


@pytest.mark.parametrize(
    ("pattern", "share"),
    [("2:4", 0.868), ("4:8", 0.897), ("1:4", 0.618), ("2:8", 0.665), ("4:16", 0.693)],
)
def test_energy_kept_for_gaussian_weights(pattern, share):
    weight = random_weight(SEED, (1024, 1, 1, 1024)).astype(np.float64)
    kept = weight * magnitude_mask(weight.astype(np.float32), NmPattern.parse(pattern))
    assert np.sum(kept**2) / np.sum(weight**2) == pytest.approx(share, abs=0.002)


@pytest.mark.parametrize(("text", "share"), [("2:4", 0.3125), ("2:8", 0.3215)])
def test_masks_are_illegal_along_the_other_axis(text, share):
    pattern = NmPattern.parse(text)
    mask = magnitude_mask(random_weight(SEED, (2048, 1, 1, 2048)), pattern)[:, 0, 0]
    counts = mask.reshape(2048 // pattern.m, pattern.m, 2048).sum(axis=1)
    assert np.mean(counts > pattern.n) == pytest.approx(share, abs=0.003)


def test_uniform_pattern_leaves_first_last_and_depthwise_dense():
    weights = [
        random_weight(1, (8, 3, 3, 3)), random_weight(2, (8, 3, 3, 1)), random_weight(3, (8, 1, 1, 8)),
        random_weight(4, (8, 3, 3, 4)), random_weight(5, (4, 1, 1, 8)),
    ]  # fmt: skip
    pruned = prune(chain(weights, groups=[1, 8, 1, 2, 1]), "2:4")
    patterns = [str(layer.pattern) for layer in pruned.layers]
    assert patterns == ["None", "None", "2:4", "2:4", "None"]
    for layer, weight in zip(pruned.layers, weights, strict=True):
        if layer.pattern is None:
            np.testing.assert_array_equal(layer.weight, weight)
        else:
            np.testing.assert_array_equal(layer.weight, np.where(naive_mask(weight, layer.pattern), weight, 0))
            check_pattern(layer)


def test_kept_energy_is_the_share_of_squares():
    weights = [random_weight(i, (16, 3, 3, 33)) for i in range(4)]
    network = chain(weights)
    scale = np.linspace(0.5, 2.0, 16)
    coded = network.layers[2]
    network = network.with_layers((*network.layers[:2], replace(coded, weight_scale=scale), network.layers[3]))
    first, plain, scaled, last = prune(network, "2:4").layers
    assert (first.kept_energy, last.kept_energy) == (1.0, 1.0)
    assert plain.kept_energy == pytest.approx((plain.weight**2).sum() / (weights[1] ** 2).sum(), rel=1e-6)
    by_channel = scale[:, None, None, None]
    expected = ((scaled.weight * by_channel) ** 2).sum() / ((weights[2] * by_channel) ** 2).sum()
    assert scaled.kept_energy == pytest.approx(expected, rel=1e-6)
    assert scaled.kept_energy != pytest.approx((scaled.weight**2).sum() / (weights[2] ** 2).sum(), rel=1e-4)


def test_kept_energy_of_placeholders_and_zeros_is_unknown():
    nothing = np.zeros((16, 3, 3, 33), np.float32)
    placeholder = np.broadcast_to(np.float32(0.5), nothing.shape)
    layers = prune(chain([nothing, nothing, placeholder, nothing]), "2:4").layers
    assert [layer.kept_energy for layer in layers] == [1.0, None, None, 1.0]


@pytest.mark.parametrize("pattern", CANDIDATES, ids=str)
def test_prune_is_idempotent_and_keep_finds_what_prune_made(pattern):
    network = chain([random_weight(i, (16, 3, 3, 33)) for i in range(3)])
    once = prune(network, pattern)
    twice = prune(once, str(pattern))
    np.testing.assert_array_equal(once.layers[1].weight, twice.layers[1].weight)
    kept = prune(once.with_layers(tuple(replace(layer, pattern=None) for layer in once.layers)), "keep")
    assert [layer.pattern for layer in kept.layers] == [None, pattern, None]


@pytest.mark.parametrize("seed", range(30))
def test_detection_equals_brute_force(seed):
    rng = np.random.default_rng(seed)
    channels = int(rng.integers(1, 40))
    weight = random_weight(seed, (3, 1, 2, channels)) * (rng.random((3, 1, 2, channels)) < rng.choice([0.02, 0.1, 0.4]))
    legal = [
        pattern
        for pattern in CANDIDATES
        if pattern.n < min(pattern.m, channels) and pattern.m <= 8 and naive_most(weight, pattern.m) <= pattern.n
    ]
    legal.sort(key=lambda pattern: (pattern.density, pattern.bits_per_dense_weight()))
    assert detect_pattern(weight, max_group=8) == (legal[0] if legal else None)


def test_detection_needs_a_pattern_that_forbids_something():
    assert detect_pattern(random_weight(1, (8, 3, 3, 3))) is None
    assert detect_pattern(random_weight(1, (8, 3, 3, 1))) is None
    assert detect_pattern(np.zeros((0, 1, 1, 8), np.float32)) is None
    assert detect_pattern(np.zeros((4, 1, 1, 16), np.int8)) == NmPattern(1, 16)


@pytest.mark.parametrize(("channels", "pattern"), [(2, "None"), (3, "2:4"), (1, "None")])
def test_a_pattern_that_forbids_nothing_is_not_set(channels, pattern):
    weight = random_weight(1, (4, 3, 3, channels))
    layer = prune(chain([weight] * 3), "2:4", {"conv1": "2:4"}).layers[1]
    assert str(layer.pattern) == pattern
    assert np.array_equal(layer.weight, weight) == (pattern == "None")


def test_overrides_by_glob_and_name():
    names = ["stem", "block1.a", "block1.b", "block2.a", "head"]
    network = chain([random_weight(i, (8, 1, 1, 16)) for i in range(5)], names)
    overrides = {"block1.b": "1:4", "block1.*": "2:8", "head": "4:8", "stem": "keep"}
    pruned = prune(network, "2:4", overrides)
    assert [str(layer.pattern) for layer in pruned.layers] == ["None", "2:8", "1:4", "2:4", "4:8"]
    assert str(prune(network, "dense", {"block2.a": "1:8"}).layers[3].pattern) == "1:8"


def test_unknown_override_suggests_names():
    network = chain([random_weight(i, (8, 1, 1, 8)) for i in range(3)], ["stem", "layer_a", "head"])
    with pytest.raises(ModelError, match=r"(?s)layer layre_a: .*did you mean layer_a\?.*layer zzz\*: .*layers with"):
        prune(network, "2:4", {"layre_a": "2:4", "zzz*": "dense"})
    with pytest.raises(
        ModelError, match="sparsity: sparsity pattern must look like 2:4, not 'half', `dense` or `keep`"
    ):
        prune(network, "half")
    with pytest.raises(ModelError, match=r"layer stem: .*not 3:5"):
        prune(network, "2:4", {"stem": "3:5"})


def test_keep_refuses_weights_that_break_a_stated_pattern():
    weight = naive_mask(random_weight(1, (8, 3, 3, 16)), NmPattern(2, 4)).astype(np.float32)
    network = chain([weight, weight.copy(), weight])
    assert str(prune(network, "keep", {"conv1": "2:4"}).layers[1].pattern) == "2:4"
    network.layers[1].weight[5, 2, 1, 8:12] = 1
    message = (
        r"conv1: 2:4 allows 2 nonzeros .* output channel 5, kernel row 2, column 1, group 2 .* 8 to 11\) has 4; 1 of"
    )
    with pytest.raises(ModelError, match=message):
        prune(network, "keep", {"conv1": "2:4"})


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("sparsity", ["2:4", "dense", "keep"])
def test_weights_that_are_not_finite_are_refused(bad, sparsity):
    weight = random_weight(1, (4, 1, 1, 8))
    weight[2, 0, 0, 3] = bad
    with pytest.raises(ModelError, match=r"conv1: weight has 1 values that are NaN or infinite, .* \[2, 0, 0, 3\]"):
        prune(chain([random_weight(0, (4, 1, 1, 8)), weight]), sparsity)


def test_group_size_is_checked():
    network = prune(chain([random_weight(i, (8, 1, 1, 16)) for i in range(3)]), "8:16")
    check_group_size(network, 16, "big")
    with pytest.raises(ModelError, match=r"small: array.group_size is 8, .*conv1 \(8:16\)"):
        check_group_size(network, 8, "small")


def test_overrides_file(tmp_path):
    path = tmp_path / "layers.yaml"
    path.write_text("layer1.*: 2:4\nlayer2.conv: 1:16 # strict\nhead: dense\n")
    assert load_overrides(path) == {"layer1.*": "2:4", "layer2.conv": "1:16", "head": "dense"}
    path.write_text("")
    assert load_overrides(path) == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 2:4\na: 1:4\n", r"layers.yaml:2:1: a appears twice"),
        ("a: 2:4\nb: 5:7\nc: half\n", r"(?s)layers.yaml:2:1: b: .*5:7.*layers.yaml:3:1: c: .*half"),
        ("a: [1, 2]\n", r"layers.yaml:1:1: expected `layer: pattern`"),
        ("- 2:4\n", r"layers.yaml: expected lines such as .* found seq"),
        ("a: 'x\n", r"layers.yaml: is not YAML"),
    ],
)
def test_bad_overrides_file(tmp_path, text, message):
    path = tmp_path / "layers.yaml"
    path.write_text(text)
    with pytest.raises(ModelError, match=message):
        load_overrides(path)


def test_missing_overrides_file(tmp_path):
    with pytest.raises(ModelError, match="cannot be read"):
        load_overrides(tmp_path / "absent.yaml")


def test_kernels_without_compilation():
    weight = random_weight(9, (6, 19))
    mask, largest = np.zeros(weight.shape, bool), np.zeros(4, np.int64)
    getattr(select_largest, "py_func", select_largest)(weight, 2, 4, mask)
    np.testing.assert_array_equal(mask, naive_mask(weight, NmPattern(2, 4)))
    getattr(count_nonzeros, "py_func", count_nonzeros)(weight * mask, largest)
    assert largest.tolist() == [naive_most(weight * mask, m) for m in (2, 4, 8, 16)]


def test_what_weights_obey_is_told():
    whole = chain([random_weight(seed, (8, 1, 1, 16)) for seed in range(4)])
    pruned = prune(whole, "2:4")
    assert pattern_note(prune(pruned, "dense"), "dense") == (
        "Weights are pruned already, 2:4 in 2 of 4 layers with weights, and run as dense ones: --sparsity keep makes "
        "use of it."
    )
    kept = "Weights as they are in the model: {} of 4 layers with weights."
    assert pattern_note(prune(pruned, "keep"), "keep") == kept.format("2:4 in 2")
    assert pattern_note(prune(whole, "keep"), "keep") == kept.format("an N:M pattern in none")
    assert pattern_note(whole, "dense") is None
    assert pattern_note(pruned, "2:4") is None
    placeholder = np.broadcast_to(np.zeros((8, 1, 1, 1), np.float32), (8, 1, 1, 16))
    assert pattern_note(chain([placeholder]), "dense") is None
