"""All rows, by module."""

from __future__ import annotations

from . import (
    table_indexing,
    table_lax,
    table_linear,
    table_math,
    table_nn,
    table_random,
    table_reduce,
    table_scipy,
    table_shape,
)
from .table import Table


def _joined(*tables: Table) -> Table:
    out: Table = {}
    for table in tables:
        for name, calls in table.items():
            out.setdefault(name, []).extend(calls)
    return out


NUMPY = _joined(table_math.TABLE, table_reduce.TABLE, table_shape.TABLE, table_linear.TABLE)
ALL = _joined(NUMPY, table_lax.TABLE, table_random.TABLE, table_nn.TABLE, table_scipy.TABLE,
              table_indexing.TABLE)
