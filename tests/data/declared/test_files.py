"""Rows of users' files, and what is said of those that cannot be read."""

import gzip
import json
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raypeft.data.declared.files import parse_table, read_bytes, read_table, told

ROWS = [{"task": "reverse `x`", "code": "x[::-1]"}, {"task": 'say "hi",\nthen', "code": "print('é')"}]


def values(path: Path) -> list[dict[str, object]]:
    table = read_table(str(path))
    assert table.problems == []
    return [row.values for row in table.rows]


def problems(name: str, content: bytes) -> list[str]:
    return told(parse_table(name, content).problems)


def write(folder: Path, name: str) -> Path:
    file, lines = folder / name, [json.dumps(row) for row in ROWS]
    quoted = [
        ",".join('"' + str(cell).replace('"', '""') + '"' for cell in row) for row in (ROWS[0], *map(dict.values, ROWS))
    ]
    text = {
        "jsonl": "\n".join(lines), "json": json.dumps(ROWS, indent=1), "csv": "\n".join(quoted),
        "tsv": "\n".join(quoted).replace('","', '"\t"'),
    }  # fmt: skip
    if name.endswith("parquet"):
        pq.write_table(pa.Table.from_pylist(ROWS), file)
    elif name.endswith(".gz"):
        file.write_bytes(gzip.compress(text[name.split(".")[1]].encode()))
    else:
        file.write_text(text[name.split(".")[1]])
    return file


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.tsv", "a.parquet", "a.jsonl.gz", "a.csv.gz"])
def test_every_format_gives_the_same_rows(tmp_path: Path, name: str) -> None:
    assert values(write(tmp_path, name)) == ROWS


def test_a_url_is_opened_with_fsspec(tmp_path: Path) -> None:
    table = read_table(f"file://{write(tmp_path, 'a.jsonl')}")
    assert [row.values for row in table.rows] == ROWS


@pytest.mark.parametrize(
    "content",
    [
        b'\xef\xbb\xbf{"a": "x"}\n{"a": "y"}\n',
        b'{"a": "x"}\r\n{"a": "y"}\r\n',
        b'\n{"a": "x"}\n  \n\n{"a": "y"}',
        b'[{"a": "x"},\n {"a": "y"}]',
        b'\xef\xbb\xbf[{"a": "x"}, {"a": "y"}]',
    ],
)
def test_marks_line_ends_and_blank_lines_are_no_rows(content: bytes) -> None:
    table = parse_table("a.jsonl", content)
    assert ([row.values["a"] for row in table.rows], table.problems) == (["x", "y"], [])


def test_a_csv_may_have_a_mark_windows_lines_and_semicolons() -> None:
    table = parse_table("a.csv", b'\xef\xbb\xbfa;b\r\n"1;2";3\r\n\r\n')
    assert [row.values for row in table.rows] == [{"a": "1;2", "b": "3"}]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.jsonl", b'{"a": 1}\n{"a": \n{"a": 2}\n', ["line 2: not JSON (Expecting value)"]),
        ("a.jsonl", b'{"a": 1}\n[[1]]\n3\n', ["lines 2, 3: must be a JSON object with the columns as keys"]),
        ("a.jsonl", b'{"a": 1}\n{"a": "caf\xe9"}\n', ["line 2: not UTF-8 (byte 0xe9); if the file is in a Windows "
                                                     "encoding, convert it: iconv -f WINDOWS-1252 -t UTF-8"]),
        ("a.csv", b"a\nx\ncaf\xe9\n", ["line 3: not UTF-8 (byte 0xe9); if the file is in a Windows "
                                       "encoding, convert it: iconv -f WINDOWS-1252 -t UTF-8"]),
        ("a.csv", b"a,b\n1,2\n1\n1,2,3\n", ["lines 3, 4: must have 2 fields, as line 1 has"]),
        ("a.csv", b'a,b\n1,2\n"1,2\n', ["line 3: not CSV (unexpected end of data), so that nothing after it can be "
                                            "read"]),
        ("a.csv", b"a,b,a\n1,2,3\n", ["line 1: has the column 'a' twice"]),
        ("a.jsonl", b"\n".join([b'{"a": 1}', *[b"{"] * 120]),
         ["lines 2, 3, 4 and 117 more: not JSON (Expecting property name enclosed in double quotes)"]),
        ("a.jsonl", b'{"a": 1}\n{"a": ' + b"9" * 5000 + b"}\n",
         ["line 2: has an integer of more than 4,300 digits, which Python does not read"]),
        ("a.json", b"[" * 100_000, ["line 1: not JSON (too many levels)"]),
    ],
)  # fmt: skip
def test_what_cannot_be_read_has_its_line(name: str, content: bytes, expected: list[str]) -> None:
    assert problems(name, content) == expected


def test_a_record_of_a_csv_is_named_by_the_line_on_which_it_begins() -> None:
    table = parse_table("a.csv", b'a,b\n"1\n\n2",x\n3,y\n')
    assert [row.place for row in table.rows] == ["line 2", "line 5"]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.txt", b"x", "a.txt must be a file that ends in .jsonl, .json, .csv, .tsv, .parquet"),
        ("a.parquet", b"x", "a.parquet must be a Parquet file but is none, or damaged"),
        ("a.jsonl.gz", b"x", "a.jsonl.gz must be compressed with gzip but is not"),
        ("a.jsonl", '{"a": 1}'.encode("utf-16"), "a.jsonl must be UTF-8 but is UTF-16; convert it: iconv -f UTF-16"),
        ("a.jsonl", b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12\n",
         "a.jsonl must be a data file but is a Git LFS pointer to one; run `git lfs pull`"),
    ],
)  # fmt: skip
def test_what_is_no_table_is_refused(name: str, content: bytes, expected: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_table(name, content)
    assert str(caught.value).startswith(expected)


def test_a_parquet_file_with_two_columns_of_one_name_is_not_called_damaged() -> None:
    buffer = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_arrays([pa.array(["x"]), pa.array(["y"])], names=["a", "a"]), buffer)
    with pytest.raises(ValueError, match=r"^a\.parquet must have each column once but has 'a' twice$"):
        parse_table("a.parquet", buffer.getvalue().to_pybytes())


def test_a_folder_in_place_of_a_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must be a file but is a folder"):
        read_table(str(tmp_path))


def test_a_field_of_ten_megabytes_is_read(tmp_path: Path) -> None:
    long = "x" * 10_000_000
    assert parse_table("a.csv", f"a,b\n{long},y\n".encode()).rows[0].values["a"] == long


def test_an_error_that_only_one_protocol_has_is_told_with_the_url(monkeypatch: pytest.MonkeyPatch) -> None:
    class Forbidden(Exception):
        pass

    def refuse(*_: object, **__: object) -> None:
        raise Forbidden("403")

    monkeypatch.setattr(fsspec, "open", refuse)
    with pytest.raises(ValueError, match=r"https://here/a\.jsonl cannot be read: 403"):
        read_bytes("https://here/a.jsonl")
