"""Plans on disk: one safetensors file, its tensors the scales and factors, its metadata the rest as JSON. Never pickle.

Reading refuses what does not fit (another network, a newer schema, a damaged file) and says what differs.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import pydantic
from safetensors import SafetensorError, safe_open

from bitwright import registry
from bitwright.errors import InputError
from bitwright.files import write_atomic
from bitwright.formats import Format, ScaleFormat, parse_granularity
from bitwright.formats.encoding import FLOAT32_BITS
from bitwright.later import torch
from bitwright.methods.earlier_plans import from_version_1
from bitwright.methods.plan import FORMATS, SCHEMA_VERSION, OperandPlan, Plan, SitePlan
from bitwright.methods.plan_checks import check_plan
from bitwright.methods.rules import GROUP as RULES
from bitwright.networks.fingerprint import bits_of, difference, fingerprint
from bitwright.networks.network import Network
from bitwright.networks.rotated_sites import Rotation, Where

KEY, CHECKSUM = "bitwright_plan", "sha256"
DAMAGES = (KeyError, ValueError, TypeError, AttributeError, RecursionError)
"""What a record comes to that is not what it should be."""


class _Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")


class _Operand(_Strict):
    format: dict[str, Any]
    granularity: str
    zero_point: int
    dropped_mean: float = 0.0
    static: bool
    minimum: bool = False
    scale_bits: int = pydantic.Field(FLOAT32_BITS, ge=1, le=FLOAT32_BITS)
    scale_format: dict[str, Any] | None = None
    tensor_scale: bool = False


class _Rule(_Strict):
    name: str
    options: dict[str, Any]
    tensors: list[str]


class _Site(_Strict):
    x: _Operand | None
    w: _Operand | None
    precision: _Rule
    accumulation: _Rule
    y: _Operand | None = None


class _Rotation(_Strict):
    where: Where
    bits: int = pydantic.Field(0, ge=0, le=32)
    step: float = pydantic.Field(0.0, ge=0, allow_inf_nan=False)
    block: int = pydantic.Field(0, ge=0, le=2**20)
    signs: bool = False


class _Plan(_Strict):
    schema_version: Literal[2, 3, 4, 5]
    method: str
    options: dict[str, dict[str, Any]]
    fingerprint: dict[str, str]
    sites: dict[str, _Site]
    smoothing: list[str]
    rotations: dict[str, _Rotation] = {}
    weights: list[str] = []
    fold_batch_norm: bool
    calibrated_on: str
    notes: list[str]
    promise: float | None = None


def save_plan(plan: Plan, path: str | Path) -> None:
    """Write `plan` to `path`, whole or not at all.

    Raises
    ------
    InputError
        If the folder does not exist or cannot be written.
    """
    target = Path(path)
    tensors: dict[str, torch.Tensor] = {}
    record = plan_record(plan, tensors)
    # In the record, since safetensors writes several entries of metadata in any order, and equal plans are equal bytes.
    record[CHECKSUM] = signed(record, tensors)
    from safetensors.torch import save

    write_atomic(target, save(tensors, metadata={KEY: json.dumps(record)}))


def load_plan(path: str | Path, network: Network | None) -> Plan:
    """The plan in the file `path`, if it was made for `network`; None: whatever it was made for.

    Raises
    ------
    InputError
        If the file is missing, damaged, no plan, of a newer version, or made for another network.
    """
    source = Path(path)
    if not source.is_file():
        raise InputError(f"there is no plan file {source}; make one with Plan.save (--save-plan)")
    record, tensors, intact = _read(source, network)
    try:
        made_for = record.fingerprint
        plan = _from_record(record, tensors)
        if not intact:
            raise ValueError("its contents are not those that were written (their SHA-256 differs)")
    except DAMAGES as error:
        raise InputError(
            f"{source} is a damaged plan: {what_is_wrong(error)}; make it anew with Plan.save (--save-plan)"
        ) from None
    if made_for and network is not None:
        differs = difference(made_for, fingerprint(network))
        if differs:
            raise InputError(f"{source} was made for another network than {network.name}: {differs}")
    return plan


def signed(record: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> str:
    """The SHA-256, in hexadecimal, of all that a plan's file says: its record, and its tensors with their names."""
    found = hashlib.sha256(json.dumps(record).encode())
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        found.update(bits_of(tensor))
    return found.hexdigest()


def _read(source: Path, network: Network | None) -> tuple[_Plan, dict[str, torch.Tensor], bool]:
    """The record, the tensors, and whether they are those that were written; version 1 kept no checksum."""
    try:
        with safe_open(str(source), framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{source} is no plan file: {error}; plans are written by Plan.save (--save-plan)") from None
    if KEY not in metadata:
        raise InputError(f"{source} is a safetensors file but no plan; plans are written by Plan.save (--save-plan)")
    try:
        raw = json.loads(metadata[KEY])
        version = raw.get("schema_version") if isinstance(raw, dict) else None
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise InputError(
                f"{source} has plan schema version {version}, this bitwright reads up to {SCHEMA_VERSION}; "
                "upgrade bitwright"
            )
        if version == 1:
            if network is None:
                raise InputError(
                    f"{source} is a plan of version 1, which is read beside its network; give the network too"
                )
            intact = True
            raw, tensors = from_version_1(raw, tensors, network)
        else:
            intact = raw.pop(CHECKSUM, None) == signed(raw, tensors)
        return _Plan.model_validate(raw), tensors, intact
    except InputError:
        raise
    except DAMAGES as error:
        raise InputError(
            f"{source} is a damaged plan: {what_is_wrong(error)}; make it anew with Plan.save (--save-plan)"
        ) from None


def what_is_wrong(error: Exception) -> str:
    """What is wrong with a record that was read, in one clause."""
    if isinstance(error, pydantic.ValidationError):
        found = error.errors()[0]
        place, message = ".".join(map(str, found["loc"])), found["msg"].removeprefix("Value error, ")
        return f"{place}: {message}" if place else message
    return f"it lacks {error}" if isinstance(error, KeyError) else str(error)


def plan_record(plan: Plan, tensors: dict[str, torch.Tensor]) -> dict[str, Any]:
    """The JSON part of a plan; its tensors are added to `tensors`."""
    sites = {name: _site_to_record(name, site, tensors) for name, site in plan.sites.items()}
    tensors |= {f"smoothing/{name}": _plain(factors) for name, factors in plan.smoothing.items()}
    tensors |= {f"weights/{name}": _plain(values) for name, values in plan.weights.items()}
    return {
        "schema_version": SCHEMA_VERSION,
        "method": plan.method,
        "options": {name: dict(options) for name, options in plan.options.items()},
        "fingerprint": dict(plan.fingerprint),
        "sites": sites,
        "smoothing": sorted(plan.smoothing),
        "rotations": {name: dataclasses.asdict(each) for name, each in sorted(plan.rotations.items())},
        "weights": sorted(plan.weights),
        "fold_batch_norm": plan.fold_batch_norm,
        "calibrated_on": plan.calibrated_on,
        "notes": list(plan.notes),
        "promise": plan.promise,
    }


def _site_to_record(name: str, site: SitePlan, tensors: dict[str, torch.Tensor]) -> dict[str, Any]:
    record: dict[str, Any] = {}
    for part, operand in (("x", site.x), ("w", site.w), *([("y", site.y)] if site.y is not None else [])):
        record[part] = None if operand is None else _operand_to_record(operand)
        if operand is not None and operand.scale is not None:
            tensors[f"sites/{name}/{part}"] = _plain(operand.scale)
        if operand is not None and operand.minimum is not None:
            tensors[f"sites/{name}/{part}/minimum"] = _plain(operand.minimum)
        if operand is not None and operand.tensor_scale is not None:
            tensors[f"sites/{name}/{part}/tensor_scale"] = _plain(operand.tensor_scale)
    for part, rule in (("precision", site.precision), ("accumulation", site.accumulation)):
        assert dataclasses.is_dataclass(rule), f"the rule {rule.name} is no dataclass"
        found = {field.name: getattr(rule, field.name) for field in dataclasses.fields(rule)}
        own = {key: value for key, value in found.items() if isinstance(value, torch.Tensor)}
        options = {key: _json(value) for key, value in found.items() if key not in own and value is not None}
        record[part] = {"name": _registered(RULES, type(rule)), "options": options, "tensors": sorted(own)}
        tensors |= {f"sites/{name}/{part}/{key}": _plain(value) for key, value in own.items()}
    return record


def _json(value: Any) -> Any:
    return value.value if isinstance(value, enum.Enum) else value


def _registered(group: str, kind: type) -> str:
    name = registry.name_of(group, kind)
    if name is None:
        raise InputError(
            f"a plan with {kind.__name__} cannot be saved; register it under the entry point group {group}"
        )
    return name


def _operand_to_record(operand: OperandPlan) -> dict[str, Any]:
    return {
        "format": _format_to_record(operand.format),
        "granularity": str(operand.granularity),
        "zero_point": operand.zero_point,
        "dropped_mean": operand.dropped_mean,
        "static": operand.scale is not None,
        **({} if operand.minimum is None else {"minimum": True}),
        **({} if operand.scale_bits == FLOAT32_BITS else {"scale_bits": operand.scale_bits}),
        **({} if operand.scale_format is None else {"scale_format": _format_to_record(operand.scale_format)}),
        **({} if operand.tensor_scale is None else {"tensor_scale": True}),
    }


def _format_to_record(fmt: Format) -> dict[str, Any]:
    kind = _registered(FORMATS, type(fmt))  # refuses what nobody could read, before it is looked at
    return {"type": kind, **pydantic.TypeAdapter(type(fmt)).dump_python(fmt, mode="json")}


def _plain(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().cpu().clone(memory_format=torch.contiguous_format)


def plan_from(record: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> Plan:
    """The plan whose JSON part is `record`, as `plan_record` made it.

    Raises
    ------
    KeyError, ValueError, TypeError
        If a part is missing or not what it should be.
    """
    return _from_record(_Plan.model_validate(record), tensors)


def _from_record(record: _Plan, tensors: Mapping[str, torch.Tensor]) -> Plan:
    plan = Plan(
        method=record.method,
        options=record.options,
        fingerprint=record.fingerprint,
        sites={name: _site_from_record(name, site, tensors) for name, site in record.sites.items()},
        smoothing={name: tensors[f"smoothing/{name}"] for name in record.smoothing},
        rotations={name: Rotation(**dict(each)) for name, each in record.rotations.items()},
        weights={name: tensors[f"weights/{name}"] for name in record.weights},
        fold_batch_norm=record.fold_batch_norm,
        calibrated_on=record.calibrated_on,
        notes=tuple(record.notes),
        promise=record.promise,
    )
    check_plan(plan)
    return plan


def _format_from_record(fields: dict[str, Any]) -> Format:
    name = fields.pop("type")
    if name not in registry.names(FORMATS):
        raise ValueError(f"format {name!r} is not installed here")
    kind = registry.lookup(FORMATS, name)
    unknown = sorted(set(fields) - {field.name for field in dataclasses.fields(kind)})
    if unknown:
        raise ValueError(f"format {name!r} has no field {unknown[0]!r}")
    fmt: Format = pydantic.TypeAdapter(kind).validate_python(fields)
    return fmt


def _scale_format(fields: dict[str, Any] | None) -> ScaleFormat | None:
    if fields is None:
        return None
    fmt = _format_from_record(dict(fields))
    if not isinstance(fmt, ScaleFormat):
        raise ValueError(f"scales of blocks are {fmt.name}; they are powers of two or minifloats")
    return fmt


def _site_from_record(name: str, site: _Site, tensors: Mapping[str, torch.Tensor]) -> SitePlan:
    def operand(part: str, record: _Operand | None) -> OperandPlan | None:
        if record is None:
            return None
        return OperandPlan(
            format=_format_from_record(dict(record.format)),
            granularity=parse_granularity(record.granularity),
            scale=tensors[f"sites/{name}/{part}"] if record.static else None,
            zero_point=record.zero_point,
            dropped_mean=record.dropped_mean,
            minimum=tensors[f"sites/{name}/{part}/minimum"] if record.minimum else None,
            scale_bits=record.scale_bits,
            scale_format=_scale_format(record.scale_format),
            tensor_scale=tensors[f"sites/{name}/{part}/tensor_scale"] if record.tensor_scale else None,
        )

    def rule(part: str, record: _Rule) -> Any:
        values = {key: tensors[f"sites/{name}/{part}/{key}"] for key in record.tensors}
        if record.name not in registry.names(RULES):
            raise ValueError(f"rule {record.name!r} is not installed here")
        kind = registry.lookup(RULES, record.name)
        unknown = sorted({*record.options, *values} - {field.name for field in dataclasses.fields(kind)})
        if unknown:
            raise ValueError(f"rule {record.name!r} has no field {unknown[0]!r}")
        return pydantic.TypeAdapter(kind).validate_python({**record.options, **values})

    return SitePlan(
        x=operand("x", site.x),
        w=operand("w", site.w),
        y=operand("y", site.y),
        precision=rule("precision", site.precision),
        accumulation=rule("accumulation", site.accumulation),
    )
