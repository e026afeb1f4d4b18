"""A plan: what a method decided for every site of a network.

A site's plan has three independent parts: the operands' formats, the run-time precision rule, and the accumulation
rule. A method fills one or more of them; methods that fill different parts compose (`int8+apsq`).
"""

from __future__ import annotations

import dataclasses
import enum
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypedDict

from bitwright import registry
from bitwright.errors import unknown_site
from bitwright.formats import Encoding, Format, Granularity, Integer, PerPosition, ScaleFormat, integer_of
from bitwright.formats.encoding import FLOAT32_BITS
from bitwright.later import torch
from bitwright.methods.plugin import format_fault
from bitwright.methods.rules import EXACT, STATIC, Exact, Rule, Static
from bitwright.networks.network import Network
from bitwright.networks.rotated_sites import Rotation
from bitwright.shown import Headline, Table, Tabled

FORMATS = registry.group("bitwright.formats", format_fault)
SCHEMA_VERSION = 5


class Part(enum.StrEnum):
    """The three parts of a site's plan that methods fill.

    Examples
    --------
    >>> Part("operands") is Part.OPERANDS
    True
    """

    OPERANDS = "operands"
    PRECISION = "precision"
    ACCUMULATION = "accumulation"


@dataclasses.dataclass(frozen=True, kw_only=True)
class OperandPlan:
    """How one operand of a site becomes codes.

    Attributes
    ----------
    format : Format
        The codes' format.
    granularity : Granularity
        Which elements share a scale.
    scale : torch.Tensor or None
        float32, broadcastable to the operand as its view has it (`bitwright.networks.view`); by position, the two
        scales [2] of `PerPosition`; None: taken from the data at run time (dynamic).
    zero_point : int
        The code of real zero.
    dropped_mean : float
        Mean of the low-order part that a format with dropped bits leaves out of each code; what it costs the product
        is a constant per output and added offline.
    minimum : torch.Tensor or None
        float32, of the scale's sizes: what is added to the reals of a group's codes; of static weights in groups.
    scale_bits : int
        Stored bits of one scale, with its minimum.
    scale_format : ScaleFormat or None
        What scales of blocks are, where they are narrow numbers: with the format, it says how blocks are encoded at run
        time (`bitwright.formats.blocks`), and what is stored of a scale.
    tensor_scale : torch.Tensor or None
        float32, of the whole operand, that such scales are multiples of, where they are floats.

    Examples
    --------
    >>> from bitwright.formats import PerTensor
    >>> unsigned = Integer(bits=8, signed=False)
    >>> x = OperandPlan(format=unsigned, granularity=PerTensor(), scale=torch.tensor(0.1), zero_point=3)
    >>> x.format.name
    'uint8'
    """

    format: Format
    granularity: Granularity
    scale: torch.Tensor | None = None
    zero_point: int = 0
    dropped_mean: float = 0.0
    minimum: torch.Tensor | None = None
    scale_bits: int = FLOAT32_BITS
    scale_format: ScaleFormat | None = None
    tensor_scale: torch.Tensor | None = None

    @property
    def encoding(self) -> Encoding:
        """How the operand is stored."""
        return Encoding(
            format=self.format,
            granularity=self.granularity,
            scale_bits=self.scale_bits,
            scale_format=self.scale_format,
        )

    @property
    def steps(self) -> torch.Tensor | None:
        """Static scales with that of the whole operand: what a value of 1 stands for; None: taken at run time."""
        return self.scale if self.scale is None or self.tensor_scale is None else self.scale * self.tensor_scale

    @property
    def usual_scale(self) -> torch.Tensor:
        """A static scale, but for first rows that have their own."""
        assert self.scale is not None
        return self.scale[-1] if isinstance(self.granularity, PerPosition) else self.scale

    def by_row(self, per_position: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """What is `per_position` [2] of `PerPosition`, for every row of x [.., rows, K]: [.., rows, 1]."""
        assert isinstance(self.granularity, PerPosition)
        rows = x.shape[-2] if x.dim() > 2 else 1
        first = torch.arange(rows, device=x.device).unsqueeze(1) < (self.granularity.first if rows > 1 else 0)
        first_value, value = per_position.to(x.device).unbind()
        return torch.where(first, first_value, value).expand(*x.shape[:-1], 1).contiguous()

    @property
    def integer(self) -> Integer:
        """The format, where codes are integers; raises InputError where they are not."""
        return integer_of(self.format)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SitePlan:
    """What happens at one site; an operand of None stays float32, and then so does the product.

    `y` is what sums are rounded to at once, by one factor, where a method states it; None: outputs are float32.

    Examples
    --------
    >>> from bitwright.formats import PerTensor
    >>> w = OperandPlan(format=Integer(bits=4), granularity=PerTensor(), scale=torch.tensor(0.1))
    >>> site = SitePlan(w=w)
    >>> site.w_type, site.x_type, site.quantized
    ('int4', 'float32', False)
    """

    x: OperandPlan | None = None
    w: OperandPlan | None = None
    precision: Rule = STATIC
    accumulation: Rule = EXACT
    y: OperandPlan | None = None

    @property
    def plain(self) -> bool:
        """Whether precision is static and sums are exact: what every array of multipliers can do."""
        return isinstance(self.precision, Static) and isinstance(self.accumulation, Exact)

    @property
    def quantized(self) -> bool:
        """Whether both operands are codes, so that the product is exact arithmetic on them."""
        return self.x is not None and self.w is not None

    @property
    def x_type(self) -> str:
        """Name of x's number type as prices know it: int8, uint8, float32."""
        return self.x.format.name if self.x else "float32"

    @property
    def w_type(self) -> str:
        """Name of w's number type."""
        return self.w.format.name if self.w else "float32"

    @property
    def x_bits(self) -> int:
        """Bits of one element of x in memory."""
        return self.x.format.bits if self.x else 32

    @property
    def w_bits(self) -> int:
        """Bits of one element of w in memory."""
        return self.w.format.bits if self.w else 32


FLOAT_SITE = SitePlan()


class PlanLine(TypedDict):
    """A site, as a plan has it."""

    site: Annotated[str, "its name"]
    x_type: Annotated[str, "number type of x"]
    w_type: Annotated[str, "number type of w"]
    x_bits: Annotated[int, "of one element of x in memory"]
    w_bits: Annotated[int, "of one element of w in memory"]
    x_granularity: Annotated[str | None, "which elements of x share a scale"]
    w_granularity: Annotated[str | None, "which elements of w share a scale"]
    x_zero_point: Annotated[int | None, "the code of 0"]
    precision: Annotated[str, "rule by which precision is chosen as the network runs"]
    accumulation: Annotated[str, "rule by which partial sums are stored"]
    rotation: Annotated[str | None, "where x is rotated, if it is"]


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Plan(Tabled):
    """What a method decided for a network; `.site(name)`, `.frame()`, `.save(path)`.

    The frame `sites` has one line per site: number types, bits, granularities, rules, where x is rotated.

    Attributes
    ----------
    method : str
        Name of the recipe or composition, as given: `int8`, `int8+apsq`.
    options : mapping
        Every option's value, by the name of the method whose it is.
    fingerprint : mapping
        Of the network that was calibrated: parameter name -> shape, type and hash.
    sites : mapping
        Site name -> site plan. A site that is absent stays float32.
    fold_batch_norm : bool
        Batch norm is folded into the convolutions before it.
    smoothing : mapping
        Site name -> factors [K] that x is divided by, folded into the weights before (`bitwright.networks.smoothing`).
    rotations : mapping
        Site name -> how its x is rotated, offline or as the network runs (`bitwright.networks.rotation`).
    weights : mapping
        Parameter name -> values that replace those of the network after folding, rotation and smoothing: weights
        rounded to the grid of their codes, corrected biases, or what training came to.
    calibrated_on : str
        Which samples it was calibrated on, in a phrase.
    notes : tuple of str
        What every report on this plan must say.
    promise : float or None
        The relative loss that it was searched to stay within, as a share of 1; None if it was not searched.

    Examples
    --------
    >>> from bitwright.api import calibrate
    >>> plan = calibrate("gemm:841x576x128", "int8")
    >>> plan.site("gemm").x_type, plan.frame()["w_bits"].tolist()
    ('uint8', [8])
    """

    TABLES: ClassVar[Mapping[str, Table]] = {"sites": Table(PlanLine, lambda plan: plan._lines())}

    method: str
    options: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    fingerprint: Mapping[str, str] = dataclasses.field(default_factory=dict)
    sites: Mapping[str, SitePlan] = dataclasses.field(default_factory=dict)
    fold_batch_norm: bool = False
    smoothing: Mapping[str, torch.Tensor] = dataclasses.field(default_factory=dict)
    rotations: Mapping[str, Rotation] = dataclasses.field(default_factory=dict)
    weights: Mapping[str, torch.Tensor] = dataclasses.field(default_factory=dict)
    calibrated_on: str = ""
    notes: tuple[str, ...] = ()
    promise: float | None = None

    def headline(self) -> Headline:
        """How many sites have which number types, and what it was calibrated on."""
        types = Counter(f"{site.x_type} x {site.w_type}" for site in self.sites.values())
        figures = [("sites", f"{sum(types.values()):,}")]
        figures += [(name, f"at {count:,} sites") for name, count in types.most_common()]
        rotated = Counter(each.where for each in self.rotations.values())
        figures += [(f"rotated ({where})", f"at {count:,} sites") for where, count in rotated.most_common()]
        figures += [("calibrated on", self.calibrated_on)] if self.calibrated_on else []
        return Headline(self.method, [*figures, *(("note:", note) for note in self.notes)])

    def _lines(self) -> Iterator[PlanLine]:
        for name, site in self.sites.items():
            yield {
                "site": name,
                "x_type": site.x_type,
                "w_type": site.w_type,
                "x_bits": site.x_bits,
                "w_bits": site.w_bits,
                "x_granularity": str(site.x.granularity) if site.x else None,
                "w_granularity": str(site.w.granularity) if site.w else None,
                "x_zero_point": site.x.zero_point if site.x else None,
                "precision": site.precision.name,
                "accumulation": site.accumulation.name,
                "rotation": str(self.rotations[name].where) if name in self.rotations else None,
            }

    def save(self, path: str | Path) -> None:
        """Write it to `path`, whole or not at all, as `--save-plan` does; a file that is there is replaced.

        Safetensors with JSON: scales and factors as they are, float32, so that what is loaded is equal.

        Raises
        ------
        InputError
            If the folder does not exist or cannot be written, or a part of the plan is not registered.
        """
        from bitwright.methods.plan_file import save_plan

        save_plan(self, path)

    @classmethod
    def load(cls, path: str | Path, network: Network | None = None) -> Plan:
        """The plan in the file `path`; nothing in it is executed.

        Parameters
        ----------
        path : path
            As `save` or `--save-plan` wrote it.
        network : Network or None
            What it is for: a plan of another network, or of other weights, is refused here. None: where it is used.

        Raises
        ------
        InputError
            If the file is missing, damaged, no plan, of a newer version, or made for another network.

        Examples
        --------
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Plan(method="int8", notes=("a note",)).save(f"{folder}/plan")
        ...     Plan.load(f"{folder}/plan").notes
        ('a note',)
        """
        from bitwright.methods.plan_file import load_plan

        return load_plan(path, network)

    @property
    def quantizes(self) -> bool:
        """Whether any site is computed on codes."""
        return any(site.quantized for site in self.sites.values())

    def site(self, name: str) -> SitePlan:
        """The plan of one site; float32 where there are none, as of the method `float`.

        Raises
        ------
        InputError
            A site that the plan does not have, with the nearest names.
        """
        if self.sites and name not in self.sites:
            raise unknown_site(name, list(self.sites), f"the plan of {self.method}")
        return self.sites.get(name, FLOAT_SITE)


def same_plan(one: Any, other: Any) -> bool:
    """Whether two sites' plans, or parts of them, are equal in everything, tensors by value."""
    if one is other:
        return True
    if one is None or other is None:
        return False
    if type(one) is type(other):
        if dataclasses.is_dataclass(one):
            names = [field.name for field in dataclasses.fields(one)]
            return all(same_plan(getattr(one, name), getattr(other, name)) for name in names)
        if isinstance(one, Mapping):
            return one.keys() == other.keys() and all(same_plan(value, other[key]) for key, value in one.items())
        if isinstance(one, str | int | float):
            return bool(one == other)
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    return type(one) is type(other) and bool(one == other)
