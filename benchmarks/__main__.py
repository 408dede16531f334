"""`python -m benchmarks [names...]`: runs benchmarks, prints a table, writes JSON and a chart."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from benchmarks import core, report
from benchmarks.harness import Row, run

MODULES = [core]
RESULTS = Path(__file__).parent / "results"
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", help="which benchmarks (default: all)")
    parser.add_argument("--list", action="store_true", help="print the names and stop")
    parser.add_argument("--rounds", type=int, help="samples of each side (default: its own)")
    parser.add_argument("--threads", type=int, help="threads of BLAS and OpenMP (default: theirs)")
    parser.add_argument("--save", action="store_true", help="write results/latest.json and .png")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    known = {b.name: (module.__name__, b) for module in MODULES for b in module.BENCHMARKS}
    if options.list:
        print(*known, sep="\n")
        return 0
    unknown = [name for name in options.names if name not in known]
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; there are: {', '.join(known)}")
        return 2
    if options.threads:
        os.environ.update(dict.fromkeys(THREADS, str(options.threads)))
    print(*(f"{k} {v}" for k, v in report.environment().items()), sep=", ")

    rows: list[Row] = []
    for name in options.names or known:
        module, benchmark = known[name]
        print(f"running {name} ...", file=sys.stderr, flush=True)
        rows += run(module, benchmark, options.rounds)
    print(report.table(rows))

    stem = RESULTS / ("latest" if options.save else "run")
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
