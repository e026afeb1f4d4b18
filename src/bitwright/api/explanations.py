"""What bounds a network on a machine, and where the cycles and picojoules of one site come from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypedDict, Unpack, overload

from bitwright.api.networks import kept, named, planned, refuse_seed
from bitwright.later import torch
from bitwright.methods.plan import Plan
from bitwright.networks.network import Network
from bitwright.networks.trace import require_sites
from bitwright.studies.bounds import Bounds, bounds_of
from bitwright.studies.explain import Explanation
from bitwright.studies.explain import explain as explain_site
from bitwright.studies.inputs import simulation_input
from bitwright.studies.machines import build_accelerators
from bitwright.tasks.evaluate import Progress, silent


class _Explained(TypedDict, total=False):
    """What both forms of `explain` take."""

    samples: Iterable[Any] | Path | None
    parameters: Mapping[str, Any] | None
    substrate: str
    options: Mapping[str, Any] | None
    calibration_count: int | None
    seed: int
    progress: Progress


@overload
def explain(
    network: Network | str | torch.nn.Module,
    method: str | Plan = ...,
    accelerator: str = ...,
    site: None = ...,
    **given: Unpack[_Explained],
) -> Bounds: ...
@overload
def explain(
    network: Network | str | torch.nn.Module,
    method: str | Plan,
    accelerator: str,
    site: str,
    **given: Unpack[_Explained],
) -> Explanation: ...
def explain(
    network: Network | str | torch.nn.Module,
    method: str | Plan = "int8",
    accelerator: str = "systolic-ws",
    site: str | None = None,
    *,
    samples: Iterable[Any] | Path | None = None,
    parameters: Mapping[str, Any] | None = None,
    substrate: str = "common",
    options: Mapping[str, Any] | None = None,
    calibration_count: int | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Bounds | Explanation:
    """What bounds a network on an accelerator, or where one site's cycles and energy come from, with sources.

    Parameters
    ----------
    network, method, samples, parameters, substrate, options, calibration_count, seed
        As in `simulate`.
    accelerator : str
        One.
    site : str or None
        A site's name: its cycles by cause and every priced event, in pJ. None: the whole network, with its roofline.

    Returns
    -------
    Bounds or Explanation
        Both with `.frame()` and `.plot()`.

    Raises
    ------
    InputError
        Anything given that cannot be used; for an unknown site with the nearest names.

    Examples
    --------
    >>> array = {"rows": 32, "cols": 32, "objective": "latency"}
    >>> explain("gemm:841x576x128", "int8", "systolic-ws", "gemm", parameters=array).cycles["busy"]
    60552.0
    >>> list(explain("gemm:841x576x128", parameters=array).cycles)
    ['array']
    """
    build_accelerators([accelerator], parameters, substrate)
    samples = kept(samples)
    given, network = network, named(network, samples)
    refuse_seed(network, seed)
    if site is not None:
        require_sites(network, [site], simulation_input(network, seed=seed)[0])
    plan = planned(
        network,
        method,
        samples,
        given=given,
        options=options,
        calibration_count=calibration_count,
        seed=seed,
        progress=progress,
    )
    progress("simulating", 0, 0)
    if site is None:
        return bounds_of(network, plan, accelerator, parameters=parameters, substrate=substrate, seed=seed)
    return explain_site(network, plan, accelerator, site, parameters=parameters, substrate=substrate, seed=seed)
