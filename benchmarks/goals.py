"""How fast bitwright is, against its goals: one table of ratios, what bounds each, and a line of history per figure.

    python benchmarks/goals.py [--rows GLOB] [--threads 1 2] [--rounds N] [--history FILE]

Each group of rows runs in a process of its own, one after the other, so that memory and threads are its own. What is
compared alternates within a round; figures are medians of the rounds' ratios, since seconds belong to a machine. What
bounds a row are the functions that its time is spent in, by Python's profiler, largest first. With `--history` the
figures are added to a CSV file with the commit that they are of.
"""

import argparse
import cProfile
import csv
import dataclasses
import fnmatch
import functools
import json
import os
import pstats
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

BATCHES = {"efficientnet-lite0": 16, "minilm-l6": 32, "smollm2-135m": 1}
TOKENS = 128
METHODS = {  # beside int8: the method, its options
    "aqs": ("aqs", {}),
    "drift": ("drift", {"delta": 0.05, "block": 32}),
    "apsq-gs2": ("int8+apsq-gs2", {}),
    "lp8": ("lp8", {}),
    "lp4": ("lp4", {}),
    "ant8": ("ant8", {}),
    "af8": ("af8", {}),
}
GOALS = {  # the row: at most this, or, where it begins with >, at least
    "exact int8 / float, efficientnet-lite0": "0.5",
    "exact int8 / float, minilm-l6": "0.6",
    "exact int8 / float, smollm2-135m": "0.7",
    **{f"exact {name} / exact int8": "3" for name in ("lp8", "lp4", "ant8", "af8")},
    "exact aqs / exact int8": "1.1",
    "exact drift / exact int8": "1.2",
    "exact apsq-gs2 / exact int8": "2",
    "candidates of lpq / float": ">3",
    "ten machines listening / float": "1.5",
    "simulate gemm, s": "1.2",
    "simulate resnet18, s": "2",
    "help of a verb, s": "0.2",
    "list of methods, s": "0.5",
    "peak of calibration, GB": "2.5",
}
Seconds = dict[str, list[float]]


# ---------------- groups of rows: each prints JSON lines [row, figure, what bounds it]


def paired(runs: Mapping[str, Callable[[], object]], rounds: int) -> Seconds:
    """Seconds of each run in each round, all in turn; a first round warms up."""
    times: Seconds = {name: [] for name in runs}
    for index in range(rounds + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if index:
                times[name].append(time.perf_counter() - start)
    return times


def ratio(times: Seconds, name: str, of: str) -> float:
    """The median of the rounds' ratios."""
    return statistics.median(one / other for one, other in zip(times[name], times[of], strict=True))


def bounds(run: Callable[[], object]) -> str:
    """The three functions that a run's time is spent in."""
    profile = cProfile.Profile()
    profile.runcall(run)
    table = pstats.Stats(profile)
    total = sum(entry[2] for entry in table.stats.values())
    largest = sorted(table.stats.items(), key=lambda item: -item[1][2])[:3]
    return ", ".join(f"{_short(*where)} {entry[2] / total:.0%}" for where, entry in largest)


def _short(file: str, _: int, function: str) -> str:
    """A function by its module; those of torch as the profiler writes them."""
    inner = function.replace("<built-in method ", "").replace("<method ", "").split("'")[1 if "'" in function else 0]
    return inner.removesuffix(">") if file == "~" else f"{Path(file).stem}.{function}"


def execution(name: str, rounds: int) -> None:
    """Exact execution by each method, the float network, and onnxruntime on the same int8 plan."""
    import torch

    from bitwright.methods.executor import Executor
    from bitwright.methods.protocol import compose
    from bitwright.networks.load import load
    from bitwright.tasks import default_samples

    network = load(name)
    batch = default_samples(network, count=BATCHES[name], batch_size=BATCHES[name]).batches[0]
    if network.kind == "sentence":  # the length that sentences are exported with
        batch = {key: torch.nn.functional.pad(value, (0, TOKENS - value.shape[1])) for key, value in batch.items()}
    methods = {"int8": ("int8", {}), **METHODS} if name != "smollm2-135m" else {"int8": ("int8", {})}
    plans = {
        key: compose(
            method, {"smoothing": "none", **options} if not key.startswith(("lp", "a")) else options
        ).calibrate(network, [batch])
        for key, (method, options) in methods.items()
    }
    runs: dict[str, Callable[[], object]] = {"float": lambda: network.forward(batch)}
    for key, plan in plans.items():
        runs[f"exact {key}"] = functools.partial(Executor(network, plan).run, batch)
    theirs = onnxruntime_session(network, plans["int8"], batch)
    if theirs is not None:
        runs["onnxruntime int8"] = theirs
    with torch.no_grad():
        times = paired(runs, rounds)
        say(f"exact int8 / float, {name}", ratio(times, "exact int8", "float"), bounds(runs["exact int8"]))
        if theirs is not None:
            say(f"onnxruntime int8 / float, {name}", ratio(times, "onnxruntime int8", "float"), "")
        for key in plans:
            if key != "int8":
                row = f"exact {key} / exact int8, {name}"
                say(row, ratio(times, f"exact {key}", "exact int8"), bounds(runs[f"exact {key}"]))


def onnxruntime_session(network: object, plan: object, batch: Mapping[str, object]) -> Callable[[], object] | None:
    """A run of the exported plan by onnxruntime, or None where there is none, or ONNX cannot say the plan."""
    try:
        import onnxruntime
        import torch

        import bitwright
        from bitwright.errors import InputError
    except ImportError:
        return None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        try:
            of_this_batch = dataclasses.replace(network, example=lambda _: dict(batch))
            bitwright.export(of_this_batch, path, "onnx-qdq", plan, check=False)
        except InputError as error:
            print(f"onnxruntime is left out: {error}", file=sys.stderr)
            return None
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    wanted = [each.name for each in session.get_inputs()]
    feeds = {key: value.numpy() for key, value in batch.items() if key in wanted}
    return lambda: session.run(None, feeds)


def candidates(name: str, rounds: int) -> None:
    """Candidates of LPQ's search per pass of the float network over the same samples."""
    from search import rates

    each, _, passed, _, profile = rates(name, 16, min(rounds, 2))
    say(f"candidates of lpq / float, {name}", passed / each, bounds(profile))


def listening(name: str, rounds: int) -> None:
    """Ten machines that hear exact int8 execution at batch 1, by the float network."""
    import torch

    from bitwright.methods.executor import Executor
    from bitwright.methods.protocol import compose
    from bitwright.networks.load import load
    from bitwright.studies.machines import accelerator_names, build_accelerators
    from bitwright.studies.simulate import Costing, run_listening
    from bitwright.tasks import default_samples

    network = load(name)
    batch = default_samples(network, count=1, batch_size=1).batches[0]
    plan = compose("int8", {"smoothing": "none"}).calibrate(network, [batch])
    first = next(iter(plan.sites.values()))
    machines = build_accelerators(accelerator_names())
    fit = [(key, machine) for key, machine in machines.items() if machine.supports(first) is None][:10]
    say(f"machines that take int8, {name}", len(fit), " ".join(key for key, _ in fit))
    alone = Executor(network, plan)
    runs = {
        "float": lambda: network.forward(batch),
        "exact": lambda: alone.run(batch),
        "heard": lambda: run_listening(network, plan, [Costing(*each) for each in fit], batch),
    }
    with torch.no_grad():
        times = paired(runs, rounds)
        say(f"ten machines listening / float, {name}", ratio(times, "heard", "float"), bounds(runs["heard"]))
        say(f"exact int8 at batch 1 / float, {name}", ratio(times, "exact", "float"), bounds(runs["exact"]))


def start_up(_: str, rounds: int) -> None:
    """Whole commands from the shell, in seconds of a wall clock."""
    program = [sys.executable, "-m", "bitwright"]
    commands = {
        "simulate gemm, s": ["simulate", "gemm:64x512x512"],
        "simulate resnet18, s": ["simulate", "resnet18"],
        "help of a verb, s": ["simulate", "--help"],
        "list of methods, s": ["methods"],
    }
    for row, words in commands.items():
        run = lambda words=words: subprocess.run([*program, *words], capture_output=True, check=True)  # noqa: E731
        say(row, statistics.median(paired({row: run}, rounds)[row]), "")


def memory(name: str, _: int) -> None:
    """The largest resident memory of a process that calibrates with default samples."""
    from bitwright.methods.protocol import compose
    from bitwright.networks.load import load
    from bitwright.tasks.calibrate import calibration_samples

    network = load(name)
    loaded = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    compose("int8", {}).calibrate(network, calibration_samples(network, None, count=None, seed=0).batches)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    say(f"peak of calibration, GB, {name}", peak, f"{loaded:.2f} GB when the network was loaded")


GROUPS: dict[str, tuple[Callable[[str, int], None], tuple[str, ...], bool]] = {  # measure, networks, per thread count
    "execution": (execution, tuple(BATCHES), True),
    "candidates": (candidates, tuple(BATCHES), False),
    "listening": (listening, tuple(BATCHES), True),
    "start-up": (start_up, ("",), False),
    "memory": (memory, ("smollm2-135m",), False),
}


def say(row: str, figure: float, bound: str) -> None:
    """Hand a figure to the process that prints the table."""
    print(json.dumps([row, figure, bound]), flush=True)


# ---------------- the table


def goal_of(row: str) -> str:
    """The goal of a row, or of the row without its network."""
    return GOALS.get(row) or GOALS.get(row.rsplit(", ", 1)[0], "")


def met(figure: float, goal: str) -> str:
    """Whether a figure is within its goal."""
    if not goal:
        return ""
    return "met" if (figure >= float(goal[1:]) if goal.startswith(">") else figure <= float(goal)) else "missed"


def measured(group: str, name: str, threads: int, rounds: int) -> list[tuple[str, float, str]]:
    """The rows of one group on one network, by a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "NUMBA_NUM_THREADS": str(threads)}
    command = [sys.executable, __file__, "--group", group, "--network", name, "--rounds", str(rounds)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        print(f"{group} {name}: failed with {done.returncode}", file=sys.stderr)
    return [tuple(json.loads(line)) for line in done.stdout.splitlines() if line.startswith("[")]


def commit() -> str:
    """The commit that is measured, marked where files differ from it."""
    words = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()


def add_history(file: Path, rows: list[tuple[str, int, float]]) -> None:
    """Append rows to a CSV file: commit, date, row, threads, figure."""
    new = not file.exists()
    with file.open("a", newline="") as opened:
        writer = csv.writer(opened)
        if new:
            writer.writerow(["commit", "date", "row", "threads", "figure"])
        now, of = time.strftime("%Y-%m-%d"), commit()
        writer.writerows([of, now, row, threads, f"{figure:.3g}"] for row, threads, figure in rows)


def main() -> None:
    """Measure the groups that are asked for, and print each row as it is known."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="*", help="groups to measure, as a glob of GROUP:NETWORK")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--history", type=Path, help="a CSV file to add the figures to")
    parser.add_argument("--group", choices=GROUPS, help=argparse.SUPPRESS)
    parser.add_argument("--network", default="", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.group:
        GROUPS[arguments.group][0](arguments.network, arguments.rounds)
        return
    kept = []
    print(f"{'what':44s} threads  figure    goal          bounded by")
    for group, (_, names, by_threads) in GROUPS.items():
        for name in names:
            if not fnmatch.fnmatch(f"{group}:{name}", arguments.rows):
                continue
            for threads in arguments.threads if by_threads else arguments.threads[:1]:
                for row, figure, bound in measured(group, name, threads, arguments.rounds):
                    goal = goal_of(row)
                    print(
                        f"{row:44s} {threads:7d} {figure:7.3g} {goal:>7s} {met(figure, goal):6s}  {bound}", flush=True
                    )
                    kept.append((row, threads, figure))
    if arguments.history:
        add_history(arguments.history, kept)


if __name__ == "__main__":
    main()
