"""What crosses the boundary: length-capped frames of JSON, and values in tagged JSON. Never pickle.

A frame is four bytes of length (big-endian) and that many bytes of JSON. Both sides use this file; what the supervisor
reads with it is hostile, so a frame that is too long, too deep, too full or not of the known form is a ProtocolError,
and decoding never builds a table from keys that the other side chose.

    sock.sendall(pack({"test": 0}))
    frames = Frames(limit=1 << 24); frames.feed(data); message = frames.next()     # None while incomplete
    decode_value(encode_value({1: (2, 3)}))
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

DEEPEST = 100
"""How deep a value may be nested; APPS has no deeper expected value than a handful."""
MOST_ITEMS = 1_000_000
_JSON_INTEGER_BITS = 1024
CHANNEL = 3
"""The descriptor on which a process finds its messages."""
FREE_DESCRIPTOR = 10
"""The zygote's own descriptors are at least this, out of the way of those that a process gets."""
BROKEN, OUT_OF_MEMORY = 77, 78
"""Exit codes of a process that could not report."""


class ProtocolError(ValueError):
    """The other side did not speak the protocol."""


class ValueTooLarge(ValueError):
    """A value has more items, or is longer when encoded, than a frame may carry."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """A dict that came from the other side, as its items: hashing chosen keys could take quadratic time."""

    items: list[tuple[Any, Any]]


@dataclass(frozen=True, eq=False)
class Opaque:
    """A value with no form in the protocol (a set, an object); it equals nothing."""

    kind: str


def pack(message: dict[str, Any]) -> bytes:
    """The frame of a message."""
    data = _ENCODER.encode(message).encode("ascii")
    return len(data).to_bytes(4, "big") + data


class Frames:
    """Takes frames out of a stream of bytes. `limit` is the most bytes that a frame may announce."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.data = bytearray()

    def feed(self, data: bytes) -> None:
        self.data += data

    def next(self) -> dict[str, Any] | None:
        """The next message, None while it is incomplete. Raises ProtocolError."""
        if len(self.data) < 4:
            return None
        length = int.from_bytes(self.data[:4], "big")
        if length > self.limit:
            raise ProtocolError(f"a frame must have at most {self.limit} bytes but announces {length}")
        if len(self.data) < 4 + length:
            return None
        body = bytes(self.data[4 : 4 + length])
        del self.data[: 4 + length]
        return unpack(body)


def unpack(body: bytes) -> dict[str, Any]:
    """The message in a frame's body. Raises ProtocolError for anything else than a JSON object of bounded size."""
    if body.count(b",") + body.count(b"[") + body.count(b"{") > 3 * MOST_ITEMS:
        raise ProtocolError("a frame has too many items")
    try:
        message = _DECODER.decode(body.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"a frame must be JSON but is not: {str(error)[:80]}") from None
    if not isinstance(message, dict):
        raise ProtocolError(f"a frame must hold a JSON object but holds a {type(message).__name__}")
    return message


def _parse_integer(digits: str) -> int:
    if len(digits) > _JSON_INTEGER_BITS:  # converting decimal digits takes quadratic time
        raise ValueError("a long integer must be sent in hexadecimal")
    return int(digits)


_ENCODER = json.JSONEncoder(separators=(",", ":"))
_DECODER = json.JSONDecoder(parse_int=_parse_integer)


class _Encoder:
    def __init__(self) -> None:
        self.items = 0

    def encode(self, value: Any, depth: int) -> Any:
        self.items += 1
        if self.items > MOST_ITEMS:
            raise ValueTooLarge(f"a value must have at most {MOST_ITEMS} items")
        if depth > DEEPEST:
            raise RecursionError(f"a value must be nested at most {DEEPEST} deep")
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int):
            value = int.__int__(value)
            return value if value.bit_length() <= _JSON_INTEGER_BITS else {"i": hex(value)}
        if isinstance(value, float):
            return float.__float__(value)
        if isinstance(value, str):
            return str.__str__(value)
        return self.encode_container(value, depth + 1)

    def encode_container(self, value: Any, depth: int) -> Any:
        if isinstance(value, list):
            return [self.encode(item, depth) for item in list.__iter__(value)]
        if isinstance(value, tuple):
            return {"t": [self.encode(item, depth) for item in tuple.__iter__(value)]}
        if isinstance(value, dict):
            items = dict.items(value)
            return {"d": [[self.encode(key, depth), self.encode(item, depth)] for key, item in items]}
        kind = type(value)
        if kind.__module__ == "numpy" and callable(getattr(value, "tolist", None)):
            return self.encode(value.tolist(), depth)
        return {"o": str(kind.__name__)[:80]}


def encode_value(value: Any) -> Any:
    """A value as JSON can carry it and give it back: tuples, integer keys and long integers are tagged.

    Raises ValueTooLarge beyond a million items, RecursionError beyond a depth of 100.
    """
    return _Encoder().encode(value, 0)


def decode_value(value: Any, depth: int = 0, keyed: bool = False) -> Any:
    """What encode_value encoded; dicts as Pairs, or, with `keyed`, as dicts (for what the trusted side sent)."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if depth > DEEPEST:
        raise ProtocolError(f"a value must be nested at most {DEEPEST} deep")
    if isinstance(value, list):
        return [decode_value(item, depth + 1, keyed) for item in value]
    if not isinstance(value, dict) or len(value) != 1:
        raise ProtocolError("a tagged value must be a JSON object with one key")
    ((tag, content),) = value.items()
    if tag == "i" and isinstance(content, str):
        try:
            return int(content, 16)
        except ValueError:
            raise ProtocolError("an integer must be in hexadecimal") from None
    if tag == "o" and isinstance(content, str):
        return Opaque(content)
    if tag == "t" and isinstance(content, list):
        return tuple([decode_value(item, depth + 1, keyed) for item in content])
    if tag == "d" and isinstance(content, list) and all(isinstance(pair, list) and len(pair) == 2 for pair in content):
        pairs = [(decode_value(key, depth + 1, keyed), decode_value(item, depth + 1, keyed)) for key, item in content]
        return dict(pairs) if keyed else Pairs(pairs)
    raise ProtocolError(f"no value has the tag {tag[:20]!r}")
