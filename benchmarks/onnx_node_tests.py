"""ONNX's own tests of its operators, run as files are: how many pass, are refused by name, or come out wrong.

    python benchmarks/onnx_node_tests.py [--only GLOB] [--json FILE]

The package onnx generates one model for each test of an operator, with inputs and expected outputs, and has small
models that torch exported (`onnx.backend.test`). Each goes through the reader of files and the interpreter. An output
passes within the test's own tolerance, or two units in the last place of its largest element for 16-bit floats, or a
millionth of that element. One that does not is run in onnxruntime: what is equal to that is listed apart.

Exits with 1 where anything is wrong, or ends in a traceback.
"""

import argparse
import collections
import dataclasses
import fnmatch
import json
import re
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from onnx.backend.test.case.node import collect_testcases
from onnx.backend.test.loader import load_model_tests

from bitwright.errors import InputError
from bitwright.networks.onnx.build import network_of
from bitwright.networks.onnx.file import opsets, read

ON_DISK = ("simple", "pytorch-converted", "pytorch-operator")
NARROW = {"float16": 2.0**-10, "bfloat16": 2.0**-7}
"""Units in the last place of 1."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """One test: a model, sets of (inputs, expected outputs), and how near these must be."""

    name: str
    model: Any
    sets: Sequence[tuple[Sequence[Any], Sequence[Any]]]
    rtol: float
    atol: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """`passed`, `refused`, `as onnxruntime`, `wrong` or `traceback`, and why."""

    name: str
    outcome: str
    why: str = ""


def cases() -> Iterator[Case]:
    """All of them; those that are on disk are read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        generated = collect_testcases(None)
    for each in generated:
        yield Case(name=each.name, model=each.model, sets=each.data_sets, rtol=each.rtol, atol=each.atol)
    for kind in ON_DISK:
        for each in load_model_tests(kind=kind):
            folder = Path(each.model_dir)
            model = onnx.load(folder / "model.onnx")
            sets = [
                (_stored(data, "input", model.graph.input), _stored(data, "output", model.graph.output))
                for data in sorted(folder.glob("test_data_set_*"))
            ]
            yield Case(name=f"{kind}/{each.name}", model=model, sets=sets, rtol=each.rtol, atol=each.atol)


def _stored(folder: Path, what: str, infos: Sequence[Any]) -> list[Any]:
    """Values in the files of a folder."""
    found = []
    for i, info in enumerate(infos):
        file = folder / f"{what}_{i}.pb"
        if not file.exists():  # the rest has a value in the model
            break
        sequence = info.type.WhichOneof("value") == "sequence_type"
        proto = onnx.SequenceProto() if sequence else onnx.TensorProto()
        proto.ParseFromString(file.read_bytes())
        found.append(numpy_helper.to_list(proto) if sequence else numpy_helper.to_array(proto))
    return found


def tensor(value: Any) -> Any:
    """An input as the interpreter takes it."""
    if isinstance(value, list):
        return [tensor(each) for each in value]
    if isinstance(value, onnx.TensorProto):
        value = numpy_helper.to_array(value)
    if value is None or (np.asarray(value).dtype.kind not in "fiub" and np.asarray(value).dtype.name != "bfloat16"):
        raise InputError("its input is nothing, a text, or of a type that is not read")
    array = np.asarray(value)
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.astype(np.float32)).to(torch.bfloat16)
    return torch.from_numpy(array.copy())


def run(case: Case, folder: Path) -> Result:
    """One test."""
    path = folder / "model.onnx"
    path.write_bytes(case.model.SerializeToString())
    try:
        model = read(path)
        held = {each.name for each in model.graph.initializer}
        names = [each.name for each in model.graph.input]
        network, _, _ = network_of(model, opsets(model), None, [name for name in names if name not in held])
        for given, expected in case.sets:
            inputs = {name: tensor(value) for name, value in zip(names, given, strict=False)}
            with torch.no_grad():
                made = network.compute({name: value for name, value in inputs.items() if name not in held})
            for i, (found, wanted) in enumerate(zip(made, expected, strict=True)):
                why = difference(found, wanted, case)
                if why:
                    theirs = by_runtime(case, names, given, i)
                    same = theirs is not None and not difference(found, theirs, case)
                    return Result(name=case.name, outcome="as onnxruntime" if same else "wrong", why=why)
    except InputError as error:
        return Result(name=case.name, outcome="refused", why=str(error).replace(str(path), "the file"))
    except Exception as error:
        return Result(name=case.name, outcome="traceback", why=f"{type(error).__name__}: {error}")
    return Result(name=case.name, outcome="passed")


def by_runtime(case: Case, names: Sequence[str], given: Sequence[Any], output: int) -> Any:
    """What onnxruntime gives; None where it does not run the model."""
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(case.model.SerializeToString(), providers=["CPUExecutionProvider"])
        return session.run(None, {name: np.asarray(value) for name, value in zip(names, given, strict=False)})[output]
    except Exception:
        return None


def difference(found: Any, wanted: Any, case: Case) -> str:
    """What is not as expected; empty: nothing."""
    if isinstance(wanted, list):
        if not isinstance(found, list) or len(found) != len(wanted):
            return "it is no sequence of as many"
        return next(filter(None, (difference(a, b, case) for a, b in zip(found, wanted, strict=True))), "")
    wanted = np.asarray(numpy_helper.to_array(wanted) if isinstance(wanted, onnx.TensorProto) else wanted)
    kind = wanted.dtype.name
    own = found.float().numpy() if found.dtype == torch.bfloat16 else found.numpy()
    if own.shape != wanted.shape:
        return f"{list(own.shape)} where {list(wanted.shape)} is expected"
    if own.dtype.name != kind and kind in np.sctypeDict and kind != "bfloat16":
        return f"{own.dtype.name} where {kind} is expected"
    a, b = own.astype(np.float64), wanted.astype(np.float64)
    largest = np.abs(b[np.isfinite(b)]).max(initial=0.0)
    near = case.atol + case.rtol * np.abs(b) + (2 * NARROW.get(kind, 0.0) + 1e-6) * largest
    same = (a == b) | (np.isnan(a) & np.isnan(b)) | (np.abs(a - b) <= near)
    return "" if same.all() else f"{np.count_nonzero(~same)} of {same.size} elements differ"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="*", metavar="GLOB")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = [run(case, Path(folder)) for case in cases() if fnmatch.fnmatch(case.name, arguments.only)]
    counts = collections.Counter(result.outcome for result in results)
    print(f"{len(results)} tests: " + ", ".join(f"{number} {outcome}" for outcome, number in counts.most_common()))
    reasons = collections.Counter(
        re.sub(r"node '.*?' ", "", result.why)[:110] for result in results if result.outcome == "refused"
    )
    print(*(f"{number} refused: {why}" for why, number in reasons.most_common()), sep="\n")
    others = [result for result in results if result.outcome not in ("passed", "refused")]
    print(*(f"{result.outcome}: {result.name}: {result.why}" for result in others), sep="\n")
    if arguments.json:
        arguments.json.write_text(json.dumps([dataclasses.asdict(result) for result in results], indent=1))
    sys.exit(1 if counts["wrong"] + counts["traceback"] else 0)


if __name__ == "__main__":
    main()
