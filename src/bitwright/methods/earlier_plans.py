"""Plans that earlier versions saved, brought up to date.

Version 1 named rules by words with bags of options, laid out the scales of grouped convolutions without an axis of
groups, and named parts of one parameter in the order of their use; a plan with sites that are named otherwise now is
refused, because what belonged to which part cannot be known.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bitwright.errors import InputError
from bitwright.later import torch
from bitwright.networks.network import Network
from bitwright.networks.trace import trace

WITHOUT_CHECKSUM = (
    "read from a plan file of version 1, which has no checksum, so that a change of it goes unnoticed; calibrate anew "
    "with --save-plan for one that has"
)
PARTIAL_SUMS = ("apsq", "psq", "block")


def from_version_1(
    raw: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], network: Network
) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """The JSON part of a plan of version 1, and its tensors, as this version has them.

    Raises
    ------
    InputError
        If the network's sites have other names now.
    KeyError, ValueError, TypeError, AttributeError
        If a part is missing or not what it should be.
    """
    sites = {name: _site(dict(site)) for name, site in raw["sites"].items()}
    tensors = dict(tensors)
    if sites:
        _arrange(sites, tensors, network)
    return {**raw, "schema_version": 2, "sites": sites, "notes": [*raw["notes"], WITHOUT_CHECKSUM]}, tensors


def _arrange(sites: Mapping[str, Any], tensors: dict[str, torch.Tensor], network: Network) -> None:
    traced = {site.name: site for site in trace(network).sites}
    renamed = sorted(set(sites) - set(traced))
    if renamed:
        raise InputError(
            f"the plan is of an earlier bitwright, which named sites of {network.name} otherwise (it has "
            f"{renamed[0]!r}); make it anew with --save-plan"
        )
    for name, site in traced.items():
        scale = tensors.get(f"sites/{name}/w")
        if site.conv is not None and site.groups > 1 and scale is not None and scale.numel() > 1:
            if scale.numel() % site.groups or not scale.dim():
                raise ValueError(f"sites/{name}/w has {scale.numel()} scales, for {site.groups} groups")
            tensors[f"sites/{name}/w"] = scale.reshape(site.groups, -1, *[1] * (scale.dim() - 1))


def _site(site: dict[str, Any]) -> dict[str, Any]:
    for part in ("precision", "accumulation"):
        rule = dict(site[part])
        options = {key: value for key, value in rule["options"].items() if value is not None}
        if rule["name"] in PARTIAL_SUMS:
            rule, options = {**rule, "name": "partial-sums"}, {**options, "kind": rule["name"]}
        site[part] = {**rule, "options": options}
    return site
