"""Scaling of logic prices between CMOS nodes.

Area and energy: Stillmaker and Baas, "Scaling equations for the accurate prediction of CMOS device performance from
180 nm to 7 nm", Integration 58, 2017: its area ratios, and its energy polynomials a2 V^2 + a1 V + a0 of the
high-performance models. Two public transcriptions of the coefficients (nodeScale, hwcomponents) agree. Our choices:
log-log interpolation between the paper's nodes (28 nm lies between its 32 nm bulk and 20 nm multi-gate models),
0.9 V where a source gives no voltage, and leakage, which the paper does not cover.
"""

import math

from bitwright.errors import InputError

NOMINAL_VOLTAGE_V = 0.9
VOLTAGE_RANGE_V = (
    0.5,
    1.3,
)  # our guard: the polynomials are not to be trusted far from the supplies they were fitted on

# Area relative to 45 nm.
AREA = {
    180: 19.0,
    130: 6.4,
    90: 2.8,
    65: 1.5,
    45: 1.0,
    32: 0.46,
    20: 0.21,
    16: 0.19,
    14: 0.17,
    10: 0.1,
    7: 0.059,
}

# (a2, a1, a0): relative energy at supply V is a2 V^2 + a1 V + a0.
ENERGY = {
    180: (0.0, 24.64, -17.98),
    130: (7.171, -6.709, 2.904),
    90: (4.762, -4.781, 2.092),
    65: (3.755, -4.398, 1.975),
    45: (1.018, -0.3107, 0.1539),
    32: (0.8367, -0.4341, 0.1701),
    20: (0.373, -0.1582, 0.04104),
    16: (0.2958, -0.1241, 0.03024),
    14: (0.2363, -0.09675, 0.02239),
    10: (0.2068, -0.09311, 0.02375),
    7: (0.1776, -0.09097, 0.02447),
}


def area_factor(from_node_nm: float, to_node_nm: float) -> float:
    """What an area at `from_node_nm` is multiplied by to stand for `to_node_nm`.

    >>> round(area_factor(45, 32), 3)
    0.46
    """
    return _interpolate(AREA, to_node_nm) / _interpolate(AREA, from_node_nm)


def energy_factor(
    from_node_nm: float,
    to_node_nm: float,
    *,
    from_voltage_v: float = NOMINAL_VOLTAGE_V,
    to_voltage_v: float = NOMINAL_VOLTAGE_V,
) -> float:
    """What a dynamic energy at one node and supply is multiplied by to stand for another.

    Raises
    ------
    InputError
        A node outside 7 to 180 nm, or a supply outside 0.5 to 1.3 V.
    """
    return _energy(to_node_nm, to_voltage_v) / _energy(from_node_nm, from_voltage_v)


def leakage_factor(
    from_node_nm: float,
    to_node_nm: float,
    *,
    from_voltage_v: float = NOMINAL_VOLTAGE_V,
    to_voltage_v: float = NOMINAL_VOLTAGE_V,
) -> float:
    """What a leakage power of the same circuit is multiplied by.

    Our choice: the leakage current per micrometre of transistor width stays, the width shrinks with the node, and power
    is current times supply.
    """
    _check_node(from_node_nm)
    _check_node(to_node_nm)
    return to_node_nm / from_node_nm * to_voltage_v / from_voltage_v


def _energy(node_nm: float, voltage_v: float) -> float:
    low, high = VOLTAGE_RANGE_V
    if not low <= voltage_v <= high:
        raise InputError(
            f"cannot scale energy at {voltage_v:g} V: the scaling equations are used from {low} to {high} V."
        )
    at_voltage = {node: a2 * voltage_v**2 + a1 * voltage_v + a0 for node, (a2, a1, a0) in ENERGY.items()}
    return _interpolate({node: energy for node, energy in at_voltage.items() if energy > 0}, node_nm)


def _interpolate(table: dict[int, float], node_nm: float) -> float:
    """The table's value at `node_nm`, on a straight line in log(node), log(value) between its neighbours."""
    _check_node(node_nm)
    below = max((node for node in table if node <= node_nm), default=None)
    above = min((node for node in table if node >= node_nm), default=None)
    if below is None or above is None:
        raise InputError(f"the scaling equations give no value for {node_nm:g} nm at this supply.")
    if below == above:
        return table[below]
    part = math.log(node_nm / below) / math.log(above / below)
    return math.exp((1 - part) * math.log(table[below]) + part * math.log(table[above]))


def _check_node(node_nm: float) -> None:
    if not min(AREA) <= node_nm <= max(AREA):
        raise InputError(
            f"cannot scale to or from {node_nm:g} nm: the scaling equations cover {min(AREA)} to {max(AREA)} nm."
        )
