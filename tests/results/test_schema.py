"""Columns as Parquet has them."""

from datetime import datetime

import pyarrow as pa
import pytest

from raypeft.records import Column
from raypeft.results.schema import schema_of


def test_every_kind_of_column_has_its_arrow_type_description_and_unit() -> None:
    kinds = [float, int, str, bool, datetime, list[str]]
    schema = schema_of(Column(f"c{place}", kind, "what it is", "GiB") for place, kind in enumerate(kinds))
    assert schema.types == [
        pa.float64(), pa.int64(), pa.string(), pa.bool_(), pa.timestamp("us", tz="UTC"), pa.list_(pa.string()),
    ]  # fmt: skip
    assert schema.field("c0").metadata == {b"description": b"what it is", b"unit": b"GiB"}
    assert schema_of([Column("a", int, "no unit")]).field("a").metadata == {b"description": b"no unit"}


def test_two_that_declare_the_same_column_are_told_so() -> None:
    with pytest.raises(ValueError, match="column em must be declared once but is declared twice"):
        schema_of([Column("em", float, "mine"), Column("em", float, "yours")])


def test_a_kind_that_parquet_has_no_type_for_is_refused_by_the_columns_name() -> None:
    with pytest.raises(ValueError, match=r"column em must be of a kind in .* but got <class 'complex'>"):
        schema_of([Column("em", complex, "odd")])
