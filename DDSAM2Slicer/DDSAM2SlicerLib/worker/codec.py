"""Messages to bytes and back, every size checked before anything is allocated (layer: worker, numpy only)."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..core.errors import WorkerError
from .protocol import ACCEPTED_DTYPES, MAGIC, MAX_HEADER_BYTES, MAX_PAYLOAD_BYTES, PREFIX, PROTOCOL_VERSION, Message

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHOWN_BYTES = 40
"""So much of what is not a message is quoted."""
MAX_DIMENSIONS = 4


class ByteStream(Protocol):
    """An unbuffered binary pipe, as ``open(..., "b", buffering=0)`` gives."""

    def readinto(self, buffer: memoryview) -> int | None:
        """Fill some of the buffer; 0 at the end."""

    def write(self, data: Any) -> int | None:
        """Take some of the bytes and return how many."""


def write_message(stream: ByteStream, message: Message) -> None:
    """Write one message; arrays are written from where they are, without a copy.

    Raises:
        WorkerError: If the message is larger than the other end accepts.
        OSError: If the pipe is closed.
    """
    for part in encode_message(message):
        rest = memoryview(part)
        while rest:
            rest = rest[stream.write(rest) or 0 :]


def encode_message(message: Message) -> list[bytes | memoryview]:
    """Turn a message into the parts that follow each other on the wire."""
    arrays = {name: np.ascontiguousarray(array) for name, array in message.arrays.items()}
    listed = [{"name": name, "dtype": str(array.dtype), "shape": array.shape} for name, array in arrays.items()]
    content = {"kind": message.kind, "request": message.request, **message.fields, "arrays": listed}
    header = json.dumps(content, separators=(",", ":")).encode()
    size = sum(array.nbytes for array in arrays.values())
    _check_sizes(len(header), size)
    prefix = PREFIX.pack(MAGIC, PROTOCOL_VERSION, 0, len(header), size)
    return [prefix + header, *(array.reshape(-1).view(np.uint8).data for array in arrays.values() if array.size)]


class BrokenOffError(WorkerError):
    """A pipe that ended in the middle of a message."""


def read_message(stream: ByteStream) -> Message | None:
    """Read one message; None if the pipe ended before it began.

    Raises:
        WorkerError: If the bytes are not a message, of another version, too large, or end in the middle.
    """
    prefix = _read_exactly(stream, PREFIX.size, may_end=True)
    if not prefix:
        return None
    magic, version, _, header_size, payload_size = PREFIX.unpack(prefix)
    if magic != MAGIC:
        msg = (
            f"The pipe carries something that is not a message: {bytes(prefix)[:SHOWN_BYTES]!r}. If the worker is "
            "started through ssh, its login shell must not print anything."
        )
        raise WorkerError(msg)
    if version != PROTOCOL_VERSION:
        msg = (
            f"The other side speaks version {version} of the worker protocol, this side version {PROTOCOL_VERSION}. "
            "Install the same release of DDSAM2Slicer on both."
        )
        raise WorkerError(msg)
    _check_sizes(header_size, payload_size)
    header = _parse_header(_read_exactly(stream, header_size))
    kind, request, listed = header.pop("kind"), header.pop("request"), header.pop("arrays")
    return Message(kind, request, header, _split_payload(listed, _read_exactly(stream, payload_size)))


def _read_exactly(stream: ByteStream, size: int, may_end: bool = False) -> memoryview:
    """Read so many bytes; an empty answer, where allowed, means that the pipe ended."""
    # unlike bytearray, empty takes no memory before bytes arrive, so a lie about the size costs nothing
    buffer = rest = memoryview(np.empty(size, np.uint8))
    while rest:
        count = stream.readinto(rest) or 0
        if not count:
            if may_end and len(rest) == size:
                return rest[:0]
            if may_end:
                msg = f"The pipe ended after {bytes(buffer[: size - len(rest)])!r}, which is not a message."
                raise WorkerError(msg)
            msg = f"The pipe ended in the middle of a message ({size - len(rest)} of {size} bytes had arrived)."
            raise BrokenOffError(msg)
        rest = rest[count:]
    return buffer


def _check_sizes(header_size: int, payload_size: int) -> None:
    """Refuse what is larger than any message of ours."""
    if header_size > MAX_HEADER_BYTES or payload_size > MAX_PAYLOAD_BYTES:
        msg = (
            f"A message of {header_size} + {payload_size} bytes is too large; the limits are {MAX_HEADER_BYTES} and "
            f"{MAX_PAYLOAD_BYTES}. Work on fewer objects or frames at once."
        )
        raise WorkerError(msg)


def _parse_header(raw: memoryview) -> dict[str, Any]:
    """Read the JSON object and check what every message must have."""
    try:
        header = json.loads(bytes(raw).decode())
    except (ValueError, RecursionError) as error:
        msg = f"A message has a header that is not JSON ({type(error).__name__}): {bytes(raw[:SHOWN_BYTES])!r}."
        raise WorkerError(msg) from error
    is_complete = (
        isinstance(header, dict)
        and isinstance(header.get("kind"), str)
        and type(header.get("request")) is int
        and isinstance(header.get("arrays"), list)
    )
    if not is_complete:
        msg = f'A message has a header without "kind", "request" or "arrays": {bytes(raw[:SHOWN_BYTES])!r}.'
        raise WorkerError(msg)
    return header


def _split_payload(listed: list[Any], payload: memoryview) -> dict[str, NDArray]:
    """Cut the payload into arrays, views of it; the list must account for every byte."""
    arrays, offset = {}, 0
    for entry in listed:
        name, dtype, shape = _check_entry(entry)
        end = offset + math.prod(shape) * dtype.itemsize
        if end > len(payload):
            break
        arrays[name] = np.ndarray(shape, dtype, payload, offset)
        offset = end
    if len(arrays) != len(listed) or offset != len(payload):
        msg = f"A message lists arrays {listed} that do not make up its payload of {len(payload)} bytes."
        raise WorkerError(msg)
    return arrays


def _check_entry(entry: Any) -> tuple[str, np.dtype, tuple[int, ...]]:
    """Check one entry of the list of arrays."""
    try:
        name, dtype, shape = entry["name"], entry["dtype"], entry["shape"]
        is_fine = isinstance(name, str) and dtype in ACCEPTED_DTYPES and len(shape) <= MAX_DIMENSIONS
        is_fine = is_fine and all(type(n) is int and 0 <= n <= MAX_PAYLOAD_BYTES for n in shape)
    except (KeyError, TypeError):
        is_fine = False
    if not is_fine:
        msg = f"A message lists an array as {entry}; it needs a name, a shape and a dtype of {ACCEPTED_DTYPES}."
        raise WorkerError(msg)
    return name, np.dtype(dtype), tuple(shape)
