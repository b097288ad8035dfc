"""Bytes of the worker protocol: what goes in comes out, and nothing else gets in."""

import io
import json
import struct

import numpy as np
import pytest

from DDSAM2SlicerLib.core.errors import WorkerError
from DDSAM2SlicerLib.worker.codec import encode_message, read_message, write_message
from DDSAM2SlicerLib.worker.protocol import MAGIC, MAX_HEADER_BYTES, MAX_PAYLOAD_BYTES, PREFIX, Message


class Trickle(io.BytesIO):
    """A pipe that gives and takes at most three bytes at a time."""

    def readinto(self, buffer):
        return super().readinto(memoryview(buffer)[:3])

    def write(self, data):
        return super().write(data[:3])


def to_bytes(message):
    return b"".join(bytes(part) for part in encode_message(message))


def frame(header, payload=b"", version=1, header_size=None, payload_size=None):
    """Write a message by hand, from the layout in the documentation."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    sizes = (header_size or len(raw), len(payload) if payload_size is None else payload_size)
    return b"DDS2" + struct.pack("<HHIQ", version, 0, *sizes) + raw + payload


def test_a_message_survives_the_pipe():
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    matrix = np.eye(4) * 0.1
    sent = Message("frames", 7, {"stack": 3, "name": "Größe"}, {"pixels": pixels, "none": pixels[:0], "matrix": matrix})
    pipe = io.BytesIO(to_bytes(sent))
    got = read_message(pipe)
    assert (got.kind, got.request, got.fields) == ("frames", 7, {"stack": 3, "name": "Größe"})
    assert list(got.arrays) == ["pixels", "none", "matrix"]
    np.testing.assert_array_equal(got.arrays["pixels"], pixels)
    np.testing.assert_array_equal(got.arrays["matrix"], matrix)
    assert got.arrays["none"].shape == (0, 3, 4)
    assert read_message(pipe) is None


def test_the_layout_is_the_documented_one():
    raw = to_bytes(Message("ping", 2, {}, {"a": np.array([1, 2], np.uint8)}))
    header = b'{"kind":"ping","request":2,"arrays":[{"name":"a","dtype":"uint8","shape":[2]}]}'
    assert raw == frame(header, b"\x01\x02")


def test_a_pipe_that_trickles_gives_the_same_message():
    pipe = Trickle()
    write_message(pipe, Message("ping", 1, {}, {"a": np.arange(100, dtype=np.uint8)}))
    pipe.seek(0)
    assert read_message(pipe).arrays["a"].sum() == 4950


def test_an_array_that_is_not_contiguous_arrives_in_its_own_order():
    array = np.arange(12, dtype=np.uint8).reshape(3, 4).T
    got = read_message(io.BytesIO(to_bytes(Message("x", 1, {}, {"a": array}))))
    np.testing.assert_array_equal(got.arrays["a"], array)


GOOD = {"kind": "x", "request": 1, "arrays": []}
UINT8 = {"name": "a", "dtype": "uint8", "shape": [2]}


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (b"Welcome to gpu-host, have fun!", r"not a message: b'Welcome to gpu-host.*must not print"),
        (b"Hi", r"pipe ended after b'Hi'"),
        (frame(GOOD, version=2), r"speaks version 2 .* this side version 1\. Install the same release"),
        (frame(GOOD)[:-3], r"in the middle of a message \(\d+ of \d+ bytes"),
        (frame(GOOD, header_size=MAX_HEADER_BYTES + 1), "too large"),
        (frame(GOOD, payload_size=MAX_PAYLOAD_BYTES + 1), "too large"),
        (frame(b"\xff\xfe not json"), "not JSON"),
        (frame(b"[" * 100_000), "not JSON"),
        (frame([1, 2]), 'without "kind"'),
        (frame({"kind": "x", "request": True, "arrays": []}), 'without "kind"'),
        (frame({"kind": "x", "arrays": []}), 'without "kind"'),
        (frame({**GOOD, "arrays": [UINT8]}, b"\x01"), "do not make up its payload of 1 bytes"),
        (frame({**GOOD, "arrays": [UINT8]}, b"\x01\x02\x03"), "do not make up its payload of 3 bytes"),
        (frame({**GOOD, "arrays": [UINT8, UINT8]}, b"\x01\x02\x03\x04"), "do not make up"),
        (frame({**GOOD, "arrays": [{**UINT8, "dtype": "object"}]}, b"\x01\x02"), "needs a name, a shape and a dtype"),
        (frame({**GOOD, "arrays": [{**UINT8, "shape": [-2]}]}, b"\x01\x02"), "needs a name, a shape and a dtype"),
        (frame({**GOOD, "arrays": [{**UINT8, "shape": [0, 2**62]}]}), "needs a name, a shape and a dtype"),
        (frame({**GOOD, "arrays": ["a"]}, b"\x01"), "needs a name, a shape and a dtype"),
    ],
)
def test_what_is_not_a_message_is_refused_with_a_sentence(raw, sentence):
    with pytest.raises(WorkerError, match=sentence):
        read_message(io.BytesIO(raw))


def test_any_bytes_give_a_message_or_a_worker_error():
    generator = np.random.default_rng(0)
    whole = bytearray(to_bytes(Message("frames", 1, {"stack": 1}, {"a": np.arange(50, dtype=np.uint8)})))
    num_refused = 0
    for _ in range(400):
        raw = bytearray(whole)
        for position in generator.integers(0, len(raw), 3):
            raw[position] = generator.integers(0, 256)
        try:
            read_message(io.BytesIO(bytes(raw)))
        except WorkerError:
            num_refused += 1
    assert 200 < num_refused < 400


def test_a_message_the_other_side_would_refuse_is_not_sent():
    pipe = io.BytesIO()
    with pytest.raises(WorkerError, match="too large"):
        write_message(pipe, Message("x", 1, {"text": "a" * MAX_HEADER_BYTES}))
    assert pipe.getvalue() == b""


def test_the_prefix_is_twenty_bytes_and_begins_with_the_magic():
    assert PREFIX.size == 20
    assert PREFIX.pack(MAGIC, 1, 0, 0, 0)[:6] == b"DDS2\x01\x00"
