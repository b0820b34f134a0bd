"""The Arrow schema of a table. Descriptions and units of its columns are stored in the schema's metadata."""

from collections.abc import Iterable
from datetime import datetime

import pyarrow as pa

from raypeft.records import Column

ARROW = {
    float: pa.float64(),
    int: pa.int64(),
    str: pa.string(),
    bool: pa.bool_(),
    datetime: pa.timestamp("us", tz="UTC"),
    list[str]: pa.list_(pa.string()),
}
"""The Arrow type of each kind of column."""


def schema_of(columns: Iterable[Column]) -> pa.Schema:
    """The schema of a table. Raises ValueError for a column of an unknown kind, or one that is declared twice."""
    fields: dict[str, pa.Field] = {}
    for column in columns:
        if column.kind not in ARROW:
            raise ValueError(f"column {column.name} must be of a kind in {[*ARROW]} but got {column.kind!r}")
        if column.name in fields:
            raise ValueError(f"column {column.name} must be declared once but is declared twice")
        metadata = {"description": column.description} | ({"unit": column.unit} if column.unit else {})
        fields[column.name] = pa.field(column.name, ARROW[column.kind], metadata=metadata)
    return pa.schema(fields.values())
