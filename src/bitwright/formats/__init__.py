"""Real values to codes and back: number formats, rounding, saturation, and which elements share a scale."""

from bitwright.formats.adaptive_float import AdaptivFloat, adaptivfloat_scale
from bitwright.formats.ant import Flint, PowerOfTwo
from bitwright.formats.blocks import BLOCK_FORMATS, BlockFormat, ScaleFormat
from bitwright.formats.encoding import Encoding
from bitwright.formats.format import Format, TableFormat
from bitwright.formats.granularity import (
    Granularity,
    PerChannel,
    PerGroup,
    PerPosition,
    PerTensor,
    PerToken,
    PerTokenRange,
    parse_granularity,
)
from bitwright.formats.integer import Integer
from bitwright.formats.log_posit import LogPosit, LogRounding, RegimeRule, converter_table, distinct_tables
from bitwright.formats.minifloat import (
    E2M1,
    E2M3,
    E3M2,
    E4M3,
    E5M2,
    E8M0,
    INT8,
    ElementFormat,
    FixedPoint,
    Minifloat,
    Specials,
)
from bitwright.formats.posit import Posit, PositRounding
from bitwright.formats.quantized import Quantized, integer_of, largest_magnitude
from bitwright.formats.rounding import Rounding, Saturation, round_to_integer, saturate
from bitwright.formats.run_length import RunLengthStream, run_length_decode, run_length_encode, run_length_entries
from bitwright.formats.slices import (
    SLICED_WIDTHS,
    SPLITS,
    SlicedUnsigned,
    combine_signed,
    combine_unsigned,
    frequent_slice,
    low_slices,
    signed_slices,
    slice_window,
    truncate,
    unsigned_slices,
    zero_window,
)

__all__ = [
    "BLOCK_FORMATS",
    "E2M1",
    "E2M3",
    "E3M2",
    "E4M3",
    "E5M2",
    "E8M0",
    "INT8",
    "SLICED_WIDTHS",
    "SPLITS",
    "AdaptivFloat",
    "BlockFormat",
    "ElementFormat",
    "Encoding",
    "FixedPoint",
    "Flint",
    "Format",
    "Granularity",
    "Integer",
    "LogPosit",
    "LogRounding",
    "Minifloat",
    "PerChannel",
    "PerGroup",
    "PerPosition",
    "PerTensor",
    "PerToken",
    "PerTokenRange",
    "Posit",
    "PositRounding",
    "PowerOfTwo",
    "Quantized",
    "RegimeRule",
    "Rounding",
    "RunLengthStream",
    "Saturation",
    "ScaleFormat",
    "SlicedUnsigned",
    "Specials",
    "TableFormat",
    "adaptivfloat_scale",
    "combine_signed",
    "combine_unsigned",
    "converter_table",
    "distinct_tables",
    "frequent_slice",
    "integer_of",
    "largest_magnitude",
    "low_slices",
    "parse_granularity",
    "round_to_integer",
    "run_length_decode",
    "run_length_encode",
    "run_length_entries",
    "saturate",
    "signed_slices",
    "slice_window",
    "truncate",
    "unsigned_slices",
    "zero_window",
]
