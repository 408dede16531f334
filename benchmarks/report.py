"""How results are shown: a table, a JSON file and a bar chart."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

import lucidfn
from benchmarks.harness import Row

TALLEST = 30  # bars above one another
HEADER = ("benchmark", "against", "ours", "theirs", "value", "spread", "bar", "aim", "")


def environment() -> dict[str, object]:
    """Versions, threads and the BLAS kernels in use: what a ratio depends on."""
    found: dict[str, object] = {"python": platform.python_version(), "cpus": os.cpu_count()}
    found["lucidfn"] = lucidfn.__version__  # it need not be installed
    for name in ("numpy", "jax", "torch", "mlx"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    found["threads"] = os.environ.get("OMP_NUM_THREADS", "default")
    found["blas"] = blas()
    return found


def blas() -> str:
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return "unknown (threadpoolctl not installed)"
    np.ones((2, 2)) @ np.ones((2, 2))
    libraries = [x for x in threadpool_info() if x["user_api"] == "blas"]
    return ", ".join(
        f"{x['internal_api']} {x['version']} {x.get('architecture', '')}" for x in libraries
    )


def number(value: float | None, unit: str = "") -> str:
    if value is None:
        return ""
    text = f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    return f"{text} {unit}".strip()


def cells(row: Row) -> tuple[str, ...]:
    unit = "x" if row.how == "ratio" else row.unit
    kind = {"ratio": "", "excess": " beyond", "absolute": ""}[row.how]
    return (
        row.title,
        f"{row.peer}, of {row.side}" if row.side else row.peer,
        number(row.ours, row.unit),
        number(row.theirs, row.unit),
        number(row.value, unit) + kind * (row.value is not None),
        "" if row.spread is None else f"± {number(row.spread)}",
        number(row.bar, unit),
        number(row.aim, unit),
        f"{row.verdict} {f'({row.note})' if row.note else ''}".strip(),
    )


def table(rows: list[Row]) -> str:
    """The rows as aligned text; a title is printed once."""
    lines = [HEADER]
    for previous, row in zip([None, *rows], rows, strict=False):
        line = cells(row)
        repeated = previous is not None and previous.benchmark == row.benchmark
        lines.append(("", *line[1:]) if repeated else line)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def write_json(rows: list[Row], path: Path) -> None:
    """Medians, ratios and spreads, without the single samples."""
    rounded = [
        {k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in asdict(row).items()}
        for row in rows
    ]
    for row in rounded:
        del row["samples"]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"environment": environment(), "rows": rounded}, indent=1) + "\n")


def read_json(path: Path) -> list[Row]:
    """The rows of an earlier run, none if there is no such file."""
    return [Row(**row) for row in json.loads(path.read_text())["rows"]] if path.exists() else []


def merged(old: list[Row], new: list[Row]) -> list[Row]:
    """The new rows in the places of those of the same benchmarks; others stay, or come last."""
    fresh = {row.benchmark for row in new}
    names = dict.fromkeys(row.benchmark for row in [*old, *new])
    return [
        row
        for name in names
        for row in (new if name in fresh else old)
        if row.benchmark == name
    ]


def draw(rows: list[Row], path: Path) -> bool:
    """Each figure as a share of its bar, so that times and ratios fit one axis; False if none."""
    shown = [row for row in rows if row.value is not None and row.bar]
    if not shown:
        return False
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    columns = 1 + (len(shown) > TALLEST)
    height = -(-len(shown) // columns)
    figure, panels = plt.subplots(
        1, columns, figsize=(8 * columns, 0.24 * height + 0.8), layout="constrained", squeeze=False
    )
    for number, axes in enumerate(panels[0]):
        bars(axes, shown[number * height : (number + 1) * height])
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return True


def bars(axes: Any, rows: list[Row]) -> None:
    """A bar for each row: green where the bar is held."""
    shares = [max(row.value / row.bar, 1e-3) for row in rows]
    places = np.arange(len(rows))
    colours = ["#3b7a57" if share <= 1 else "#b03a2e" for share in shares]
    axes.barh(places, shares, color=colours, height=0.7)
    axes.axvline(1, color="black", linewidth=1)
    for place, row, share in zip(places, rows, shares, strict=True):
        axes.text(max(share, 1), place, f" {cells(row)[4]}", va="center", fontsize=8)
        if row.aim:
            axes.plot([row.aim / row.bar] * 2, [place - 0.4, place + 0.4], color="black", ls=":")
    axes.set_yticks(places, [f"{row.title} / {cells(row)[1]}" for row in rows], fontsize=8)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xscale("log")
    axes.set_xlim(min(0.05, *shares) * 0.8, max(2.0, *shares) * 2)
    axes.set_xlabel("share of the bar (the line; dotted: the aim); shorter is better", fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
