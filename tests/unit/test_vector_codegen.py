"""Compile elementwise, table and normalisation layers onto small buffers; execute, replay, compare with the kernels."""

import pytest
from layer_programs import check_layers, sized_spec
from quantized_layers import layer_cases

from gossamer.dataflow.network import Conv2d, ConvTranspose2d, MatMul, View

MULTIPLIES = (Conv2d, ConvTranspose2d, MatMul, View)
CASES = [case for case in layer_cases(7) if not isinstance(case.layer, MULTIPLIES)]


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("group", [4, 8, 16])
def test_every_kind_of_layer(case, group) -> None:
    spec = sized_spec(group=group, chains=16)
    check_layers(spec, case.network, case.values)
