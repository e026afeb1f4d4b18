"""Which plan a command uses: a method that is calibrated first, or a file that keeps one."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitwright.cli.given import method_options
from bitwright.cli.interrupts import INTERRUPTS
from bitwright.cli.show import written
from bitwright.errors import InputError
from bitwright.files import check_file

if TYPE_CHECKING:
    from bitwright.methods.plan import Plan
    from bitwright.networks.network import Network

DEFAULT_METHOD = "int8"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choice:
    """A method with options, or the file of a plan (made by `method`, if that is named too).

    A method that the user did not name is the network's own, if it has one: a quantized file's is its quantization.
    """

    method: str
    options: dict[str, Any]
    file: Path | None
    named: bool = True

    def of(self, network: "Network") -> "Plan | str":
        """The plan in the file, checked against the network, or the method's name."""
        if self.file is None:
            own = network.default_method
            return self.method if self.named or self.options or own is None else own
        from bitwright.methods.plan import Plan

        plan = Plan.load(self.file, network)
        if self.method not in ("", plan.method):
            raise InputError(
                f"the plan {self.file} is one of {plan.method!r}, not of {self.method!r}; leave --method out"
            )
        return plan


def find_plan(
    method: str | None,
    options: Sequence[str] | None,
    file: Path | None,
    *,
    calibration: int | None = None,
    samples: str | None = None,
) -> Choice:
    """Refuse contradictions, unknown methods and options, before anything runs."""
    if file is not None and options:
        raise InputError(f"the plan {file} has options of its own; leave --option out")
    for flag, value in (("--calibration", calibration), ("--samples", samples)):
        if file is not None and value is not None:
            raise InputError(f"the plan {file} is calibrated already; leave {flag} out")
    default = DEFAULT_METHOD if file is None else ""
    choice = Choice(method=method or default, options=method_options(options), file=file, named=method is not None)
    if file is None:
        from bitwright.methods.protocol import compose
        from bitwright.studies.systems import refuse_systems

        refuse_systems([choice.method])
        compose(choice.method, choice.options)
    elif not file.is_file():
        raise InputError(f"there is no plan {file}; --save-plan of evaluate or simulate makes one")
    return choice


def check_outputs(*files: Path | None, overwrite: bool, beside: Sequence[Path | None] = ()) -> None:
    """As `check_new`, of several files of which no two are one, nor one of those `beside` them."""
    for file in files:
        check_new(file, overwrite=overwrite)
    there = [file for file in (*files, *beside) if file is not None]
    same = [file for file in there if sum(each.resolve() == file.resolve() for each in there) > 1]
    if same:
        raise InputError(f"{' and '.join(map(str, same))} are one file, for two results; name another")


def check_new(file: Path | None, *, overwrite: bool) -> None:
    """Refuse, before anything runs, a file that cannot be written, or exists and is not to be replaced."""
    check_file(file)
    INTERRUPTS.expect(file)
    if file is not None and file.exists() and not overwrite:
        raise InputError(f"{file} exists; --overwrite replaces it, or name another file")


def check_continued(file: Path, kept: Path | None, method: str, *, overwrite: bool) -> None:
    """As `check_new`, but that a run which goes on from `kept` may replace the plan that it left when it was stopped.

    A `method` of nothing is that of `kept`.
    """
    if overwrite or kept is None or not kept.exists() or not file.is_file():
        check_new(file, overwrite=overwrite)
        return
    from bitwright.methods.plan import Plan

    INTERRUPTS.expect(file)
    plan = Plan.load(file)
    if method not in ("", plan.method):
        raise InputError(
            f"{file} is a plan of {plan.method}, which this run did not leave; --overwrite replaces it, or name "
            "another file"
        )


def keep_plan(plan: "Plan", file: Path | None) -> None:
    """Write the plan if a file is named, and say where it is."""
    if file is not None:
        plan.save(file)
        written([file])
