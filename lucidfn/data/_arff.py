"""ARFF, the text format of OpenML's tables: columns of numbers and of named categories."""

from __future__ import annotations

import gzip
import os
import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from lucidfn.data._fetch import DataError

NUMBERS = ("numeric", "real", "integer")
ROWS = 1024  # parsed at once
# A value in quotes with backslash escapes, or plain up to the next comma.
VALUE = re.compile(r"""\s*(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"|([^,]*))\s*(,|$)""")
ATTRIBUTE = re.compile(r"""@attribute\s+(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"|([^\s{]+))"""
                       r"\s*(.+)$", re.IGNORECASE)


class Column(NamedTuple):
    """A name, and the categories; None for numbers, () for text, dates and whatever else."""

    name: str
    categories: tuple[str, ...] | None


def read_arff(path: str | os.PathLike[str]) -> tuple[list[Column], np.ndarray]:
    """The columns, and the values float64 [N, columns]: categories by number, missing ones NaN.

    Columns that are neither numbers nor categories are NaN. Sparse rows, `{3 1.5, 7 x}`, are filled
    with zeros and first categories. Raises DataError with the line of what cannot be read.
    """
    with open(path, "rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
    with (gzip.open if packed else open)(path, "rt", encoding="utf-8", errors="replace") as file:
        lines = enumerate(file, 1)
        columns = _header(lines, path)
        codes = [None if c.categories is None else {v: i for i, v in enumerate(c.categories)}
                 for c in columns]
        parts, rows, first = [], [], 0
        for number, line in lines:
            line = line.strip()
            if not line or line.startswith("%"):
                continue
            first = first or number
            row = _sparse(line, codes) if line.startswith("{") else split(line)
            if row is None or len(row) != len(columns):
                raise DataError(f"{path}:{number}: expected {len(columns)} values, got "
                                f"{'what is no row' if row is None else len(row)}; the file is "
                                "truncated or damaged")
            rows.append(row)
            if len(rows) == ROWS:
                parts.append(_values(rows, columns, codes, f"{path}:{first}"))
                rows, first = [], 0
    if rows:
        parts.append(_values(rows, columns, codes, f"{path}:{first}"))
    return columns, np.concatenate(parts) if parts else np.zeros((0, len(columns)))


def split(line: str) -> list[str]:
    """The values of a row, without their quotes.

    >>> split("1.5, 'a, b', ?")
    ['1.5', 'a, b', '?']
    """
    if "'" not in line and '"' not in line:
        values = line.split(",")
        return [value.strip() for value in values] if " " in line or "\t" in line else values
    values, at, comma = [], 0, ","
    while comma:
        match = VALUE.match(line, at)
        assert match is not None  # the last alternative takes anything
        values.append(_unquoted(match))
        at, comma = match.end(), match[4]
    return values


def _unquoted(match: re.Match[str]) -> str:
    quoted = match[1] if match[1] is not None else match[2]
    return match[3].strip() if quoted is None else re.sub(r"\\(.)", r"\1", quoted)


def _header(lines: Iterator[tuple[int, str]], path: str | os.PathLike[str]) -> list[Column]:
    columns: list[Column] = []
    for number, line in lines:
        line = line.strip()
        lowered = line.lower()
        if lowered.startswith("@data"):
            if columns:
                return columns
            break
        if not lowered.startswith("@attribute"):
            continue
        match = ATTRIBUTE.match(line)
        if match is None:
            raise DataError(f"{path}:{number}: no attribute of ARFF: {line[:80]!r}")
        kind = match[4].strip()
        if kind.startswith("{") and kind.endswith("}"):
            categories: tuple[str, ...] | None = tuple(split(kind[1:-1]))
        else:
            categories = None if kind.lower().split()[0] in NUMBERS else ()
        columns.append(Column(_unquoted(match), categories))
    raise DataError(f"{path} is truncated, or no ARFF file: it has no attributes and @data")


def _sparse(line: str, codes: list[dict[str, int] | None]) -> list[str] | None:
    """A whole row of a sparse one; None if it is none."""
    if not line.endswith("}"):
        return None
    row = ["0" if not known else next(iter(known)) for known in codes]
    for entry in filter(None, (text.strip() for text in re.split(
            r""",(?=\s*\d+\s)""", line[1:-1]))):
        index, _, value = entry.partition(" ")
        if not index.isdecimal() or int(index) >= len(row):
            return None
        row[int(index)] = (split(value) or [""])[0]
    return row


def _values(rows: list[list[str]], columns: list[Column], codes: list[dict[str, int] | None],
            where: str) -> np.ndarray:
    named = [(i, known) for i, known in enumerate(codes) if known is not None]
    # Categories by number first: then a row is numbers alone, which Python reads at once.
    done: list[list[float]] = []
    for row in rows:
        values: list[str | float] = ["nan" if v == "?" else v for v in row]
        for i, known in named:
            value = row[i]
            if known and value != "?":
                if value not in known:
                    raise _wrong(columns[i], value, where)
                values[i] = known[value]
            else:
                values[i] = np.nan
        try:
            done.append(list(map(float, values)))
        except ValueError:
            raise next(_wrong(c, v, where) for c, v in zip(columns, values, strict=True)
                       if not _is_number(v)) from None
    return np.array(done)


def _is_number(value: str | float) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def _wrong(column: Column, value: str | float, where: str) -> DataError:
    kind = "a number" if column.categories is None else f"one of {column.categories[:20]}"
    return DataError(f"{where} and the lines after it: the column {column.name!r} holds {value!r}, "
                     f"expected {kind}")
