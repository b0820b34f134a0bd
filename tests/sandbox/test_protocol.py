"""The result protocol: values come back as they were, and no bytes that a process can send do harm."""

# ruff: noqa: E501 - programs are kept on one line, which shows them whole
from __future__ import annotations

import json
import math
import random
import time
from typing import Any

import pytest

from raypeft.sandbox import Limits, Sandbox, protocol
from raypeft.sandbox.protocol import (
    DEEPEST,
    MOST_ITEMS,
    Frames,
    Opaque,
    Pairs,
    ProtocolError,
    ValueTooLarge,
    decode_value,
    encode_value,
    pack,
    unpack,
)

VALUES = [
    None, True, 0, -1, 1 << 60, 10**1000, -(10**1000), 0.1, -0.0, 1e308, "", "naïve\0\ud800\n", [], [1, [2, [3]]],
    (), (1, (2,)), {}, {1: "a", "1": "b", None: [(1,)], (1, 2): 3.5}, [{1: {2: {3: []}}}], [[True, 1, 1.0]],
]  # fmt: skip
FORGED = """
import json, os, random
choose = random.Random({seed})
valid = json.dumps({{"test": 0, "end": "ok", "retire": False}}).encode()
frame = len(valid).to_bytes(4, "big") + valid
for _ in range(choose.randrange(1, 4)):
    kind = choose.randrange(5)
    if kind == 0:
        data = choose.randbytes(choose.randrange(1, 5000))
    elif kind == 1:
        data = bytearray(frame)
        for _ in range(choose.randrange(1, 4)):
            data[choose.randrange(len(data))] = choose.randrange(256)
    elif kind == 2:
        data = frame[:choose.randrange(len(frame))]
    elif kind == 3:
        body = choose.choice([b"[]", b"null", b'"x"', b"1e999", b"{{}}", b"[" * 5000, b"9" * 9000, b'{{"test":0,"end":1}}',
                              b'{{"test":0.0,"end":"ok"}}', b'{{"test":false,"end":"ok"}}', b'{{"end":"ok"}}', b"{{" * 99])
        data = len(body).to_bytes(4, "big") + body
    else:
        data = frame * choose.randrange(2, 9)
    os.write(3, data)
if choose.random() < 0.3: os.close(3)
if choose.random() < 0.5: os._exit(choose.randrange(3))
print(choose.randrange(100))
"""


def plain(value: Any) -> Any:
    """A decoded value with its dicts back."""
    if isinstance(value, Pairs):
        return {plain(key): plain(item) for key, item in value.items}
    if isinstance(value, (list, tuple)):
        return type(value)(map(plain, value))
    return value


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_value_comes_back_equal_and_of_the_same_type(value: Any) -> None:
    body = pack({"value": encode_value(value)})[4:]
    returned = plain(decode_value(unpack(body)["value"]))
    assert repr(returned) == repr(value)
    assert repr(decode_value(unpack(body)["value"], keyed=True)) == repr(value)


def test_a_float_that_is_no_number_comes_back() -> None:
    assert math.isnan(decode_value(unpack(pack({"v": encode_value(float("nan"))})[4:])["v"]))


def test_what_has_no_form_in_the_protocol_comes_back_as_its_kind() -> None:
    for value in ({1, 2}, object(), iter([]), 1j, b"x", range(3)):
        assert decode_value(encode_value(value)) != value
        assert isinstance(decode_value(encode_value(value)), Opaque)


def test_a_value_that_is_too_deep_or_too_large_is_refused_before_it_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "MOST_ITEMS", 10_000)
    deep: list[Any] = []
    for _ in range(DEEPEST + 1):
        deep = [deep]
    with pytest.raises(RecursionError):
        encode_value(deep)
    with pytest.raises(ValueTooLarge):
        encode_value([0] * 10_001)
    shared: list[Any] = [0]
    for _ in range(60):
        shared = [shared, shared]
    with pytest.raises(ValueTooLarge):
        encode_value(shared)


def test_frames_are_found_however_the_stream_is_cut() -> None:
    messages = [{"test": number, "text": "é" * number} for number in range(20)]
    stream = b"".join(map(pack, messages))
    for size in (1, 3, 7, 1000):
        frames, found = Frames(limit=1000), []
        for start in range(0, len(stream), size):
            frames.feed(stream[start : start + size])
            while (message := frames.next()) is not None:
                found.append(message)
        assert found == messages


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"null", b"{", b"{}x", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 50_000, b'{"a":' + b"9" * 100_000 + b"}",
        b'{"a":[' + b"0," * (4 * MOST_ITEMS) + b"0]}", b'{"a":"\\ud8"}', b"nan",
    ],
    ids=lambda body: repr(body[:9]),
)  # fmt: skip
def test_a_body_that_is_no_message_is_a_protocol_error_at_once(body: bytes) -> None:
    start = time.process_time()
    with pytest.raises(ProtocolError):
        unpack(body)
    assert time.process_time() - start < 1


@pytest.mark.parametrize(
    "value",
    [
        {"x": 1}, {}, {"t": 1}, {"t": [], "d": []}, {"d": [[1]]}, {"d": {}}, {"i": 5}, {"i": "zz"}, {"o": 1},
        [{"t": [{"q": 1}]}],
    ],
)  # fmt: skip
def test_a_tagged_value_of_another_form_is_a_protocol_error(value: Any) -> None:
    with pytest.raises(ProtocolError):
        decode_value(value)


def test_a_frame_that_announces_more_than_the_limit_is_refused_before_it_arrives() -> None:
    frames = Frames(limit=100)
    frames.feed((101).to_bytes(4, "big"))
    with pytest.raises(ProtocolError):
        frames.next()


def test_random_bytes_and_mutated_frames_are_protocol_errors_or_messages_and_nothing_else() -> None:
    choose = random.Random(5)
    valid = pack({"test": 3, "end": "ok", "value": encode_value(VALUES[:10]), "retire": False})
    for _ in range(4000):
        data = bytearray(valid if choose.random() < 0.8 else choose.randbytes(60))
        for _ in range(choose.randrange(6)):
            place = choose.randrange(len(data))
            data[place : place + choose.randrange(3)] = choose.randbytes(choose.randrange(3))
        frames = Frames(limit=1000)
        frames.feed(bytes(data))
        try:
            message = frames.next()
            if message is not None:
                decode_value(message.get("value"))
        except ProtocolError:
            pass


def test_a_process_that_sends_random_bytes_and_mutated_frames_does_not_pass(any_sandbox: Any) -> None:
    tests = {"inputs": ["", ""], "outputs": ["no program prints this", "nor this"]}
    with Sandbox(Limits(seconds_per_test=0.5, wall_seconds_per_test=0.6), tier=any_sandbox.tier) as sandbox:
        for seed in range(60):
            result = sandbox.run(FORGED.format(seed=seed), tests)
            assert len(result.tests) == 2
            assert {test.outcome for test in result.tests} <= {"runtime_error", "wrong_answer", "time_limit"}, seed
            assert not any(test.passed or test.passed_paper for test in result.tests)
    assert json.dumps(result.isolation)
    assert any_sandbox.run("print(input())", {"inputs": ["7"], "outputs": ["7"]}).tests[0].passed


def test_a_call_that_forges_its_value_gains_what_returning_it_would(any_sandbox: Any) -> None:
    forged = "import json, os\ndef f(x):\n b = json.dumps({'test': 0, 'end': 'ok', 'value': %s}).encode()\n"
    forged += " os.write(3, len(b).to_bytes(4, 'big') + b)\n while True: pass"
    tests = {"inputs": [[1]], "outputs": [{"1": 2}], "fn_name": "f"}
    assert any_sandbox.run(forged % "{'d': [[1, 2]]}", tests).tests[0].passed
    for value in ("{'d': [[[], 2]]}", "{'d': [[1, 2], [1, 2]]}", "{'d': [[{'d': []}, 2]]}", "[[]]", "'x'", "True"):
        assert not any_sandbox.run(forged % value, tests).tests[0].passed, value
