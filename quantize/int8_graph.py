"""The passes in order: from a float graph and its schemes to the graphs of a bundle."""

from collections.abc import Callable, Mapping, Sequence

import onnx_ir as ir

from embedge.models.space import Variant
from embedge.quantize.codes import EIGHT_BITS, SEVEN_BITS, ActivationCodes
from embedge.quantize.int4_embedding import Float16, find_four_bit_tables, int4_embedding
from embedge.quantize.int8_embedding import int8_embedding
from embedge.quantize.int8_linear import int8_linears
from embedge.quantize.matryoshka import cut
from embedge.quantize.row_scales import join_expert_offsets, merge_row_scales
from embedge.quantize.scheme import SiteScheme, ranges, smoothing_scales
from embedge.quantize.shared_dispatch import share_dispatch
from embedge.quantize.shifted_gelu import shifted_gelu
from embedge.quantize.smooth import smooth
from embedge.quantize.weights import WeightQuantizer

# With 63 steps a constant range leaves too few of them to ordinary rows: measured on a trained
# 12-layer model, a step per row there takes 1 - cosine from 3.6e-3 to 2.8e-3.
_FEW_STEPS = 63

CODES: Mapping[Variant, ActivationCodes] = {"int8": EIGHT_BITS, "int8-avx2": SEVEN_BITS}


def int8_graph(
    model: ir.Model,
    schemes: Mapping[str, SiteScheme],
    codes: ActivationCodes,
    weights: WeightQuantizer,
    four_bit_tables: Mapping[str, Float16],
) -> dict[str, str]:
    """Quantize the word table and every linear; the rest stays in float.

    Args:
        model: the float graph; changed in place.
        schemes: from `choose_schemes`.
        codes: 8 bits, or 7 for CPUs that would saturate. Weights and smoothing are the same;
            with 7 bits every input gets a step per row.
        weights: shared by the graphs of one bundle.
        four_bit_tables: scales of the word tables that have a 4-bit form, by name.

    Returns:
        The form of every quantized table, by name.
    """
    int4_embedding(model, four_bit_tables)
    tables = dict.fromkeys(four_bit_tables, "4-bit rows")
    tables |= dict.fromkeys(int8_embedding(model), "int8 rows")
    smooth(model, smoothing_scales(schemes))
    shifted_gelu(model, ranges(schemes, "shifted"), codes, weights)
    constant_ranges = ranges(schemes, "static") if codes.steps > _FEW_STEPS else {}
    int8_linears(model, constant_ranges, codes, weights)
    join_expert_offsets(model)
    merge_row_scales(model)
    share_dispatch(model)
    return tables


def int8_graphs(
    read: Callable[[], ir.Model],
    schemes: Mapping[str, SiteScheme],
    sizes: Sequence[int],
    weights: WeightQuantizer,
) -> tuple[dict[str, ir.Model], dict[str, str]]:
    """Return a graph per variant and size by file name, and the form of every quantized table.

    Args:
        read: gives a fresh copy of the float graph at full size.
        schemes: from `choose_schemes`.
        sizes: output sizes.
        weights: with the mean inputs, where known.
    """
    graphs: dict[str, ir.Model] = {}
    four_bit_tables = find_four_bit_tables(read())
    for variant, codes in CODES.items():
        model = read()
        full = int(model.graph.outputs[0].shape[-1])  # type: ignore[index, arg-type]  # declared by the exporter
        tables = int8_graph(model, schemes, codes, weights, four_bit_tables)
        for size in sizes:
            graphs[graph_file(variant, size, full)] = cut(model, size)
    return graphs, tables


def graph_file(variant: Variant, size: int, full: int) -> str:
    """Name the proto of a variant and size: `model.onnx`, `model-avx2-256.onnx`."""
    suffix = "" if variant == "int8" else "-" + variant.removeprefix("int8-")
    return f"model{suffix}.onnx" if size == full else f"model{suffix}-{size}.onnx"
