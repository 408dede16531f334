"""`python -m benchmarks [names...]`: runs benchmarks, prints a table, writes JSON and a chart."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from time import perf_counter

from benchmarks import control, core, epochs, kernels, on_mlx, report, scaling, training
from benchmarks.harness import Row, run

GROUPS = {
    "core": core,
    "training": training,
    "epochs": epochs,
    "kernels": kernels,
    "control": control,
    "scaling": scaling,
    "mlx": on_mlx,
}
QUICK = 3  # rounds
RESULTS = Path(__file__).parent / "results"
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names", nargs="*", help=f"which benchmarks, or groups: {', '.join(GROUPS)} (default: all)"
    )
    parser.add_argument("--list", action="store_true", help="print the names and stop")
    parser.add_argument("--rounds", type=int, help="samples of each side (default: its own)")
    parser.add_argument("--quick", action="store_true", help=f"at most {QUICK} samples a side")
    parser.add_argument("--threads", type=int, help="threads of BLAS and OpenMP (default: theirs)")
    parser.add_argument(
        "--device", choices=("mlx:cpu", "gpu"), default="mlx:cpu",
        help="where the group mlx runs (default: mlx:cpu)",
    )  # fmt: skip
    parser.add_argument(
        "--save", action="store_true", help="put these rows into results/latest.json and .png"
    )
    return parser.parse_args()


def chosen(names: list[str], device: str = "mlx:cpu") -> list[str]:
    """The benchmarks of these names and groups, or all; ValueError for others."""
    groups = {
        group: [b.name for b in module.BENCHMARKS if b.device in (None, device)]
        for group, module in GROUPS.items()
    }
    known = [name for members in groups.values() for name in members]
    if unknown := [name for name in names if name not in known and name not in groups]:
        there = ", ".join([*groups, *known])
        raise ValueError(f"no benchmark {', '.join(unknown)} on {device}; there are: {there}")
    wanted = [one for name in names for one in groups.get(name, [name])]
    return list(dict.fromkeys(wanted)) or known


def measure(names: list[str], rounds: int | None, quick: bool) -> list[Row]:
    """The rows of these benchmarks, one after the other."""
    rows: list[Row] = []
    known = {b.name: (m.__name__, b) for m in GROUPS.values() for b in m.BENCHMARKS}
    for number, name in enumerate(names, 1):
        module, benchmark = known[name]
        print(f"{number}/{len(names)} {name}:", end="", file=sys.stderr, flush=True)
        wanted, start = rounds or benchmark.rounds, perf_counter()
        found = run(module, benchmark, min(wanted, QUICK) if quick else wanted)
        short = [f" {row.peer} {report.cells(row)[4] or row.verdict}" for row in found]
        print(*short, f" ({perf_counter() - start:.0f} s)", sep=",", file=sys.stderr, flush=True)
        rows += found
    return rows


def main() -> int:
    options = arguments()
    try:
        names = chosen(options.names, options.device)
    except ValueError as error:
        print(error)
        return 2
    if options.list:
        print(*names, sep="\n")
        return 0
    if options.threads:
        os.environ.update(dict.fromkeys(THREADS, str(options.threads)))
    print(*(f"{k} {v}" for k, v in report.environment().items()), sep=", ")

    rows = measure(names, options.rounds, options.quick)
    print(report.table(rows))

    stem = RESULTS / ("latest" if options.save else "run")
    if options.save:
        rows = report.merged(report.read_json(stem.with_suffix(".json")), rows)
    report.write_json(rows, stem.with_suffix(".json"))
    print(f"wrote {os.path.relpath(stem)}.json")
    try:
        if report.draw(rows, stem.with_suffix(".png")):
            print(f"wrote {os.path.relpath(stem)}.png")
    except ImportError:
        print("no chart: matplotlib not installed")
    return int(any("WRONG" in row.verdict for row in rows))


if __name__ == "__main__":
    sys.exit(main())
