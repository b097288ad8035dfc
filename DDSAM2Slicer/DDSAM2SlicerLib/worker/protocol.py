"""What the two ends of the pipe say, and how it looks in bytes (layer: worker, numpy only).

One message is one frame, integers little-endian::

    bytes  content
    4      magic b"DDS2"
    2      protocol version
    2      0, reserved
    4      length of the header
    8      length of the payload
    ...    header: one JSON object in UTF-8
    ...    payload: the arrays of the header's list "arrays", one after the other in C order, without gaps

The first eight bytes never change, so that any two versions can tell that they differ. The header holds "kind",
"request" (a number chosen by the client, from 1; replies repeat it; 0 belongs to no request), the fields of its kind,
and "arrays": [{"name", "dtype", "shape"}, ...]. Nothing is pickled and nothing received is ever executed.

Requests (fields; arrays)::

    hello        release                                    first message; answered with hello
    load_model   name, device, settings[, adapters]         catalog name or a path on the worker's machine; another
                                                            path there for adapters, empty for none
    open_stack   shape, spacing_mm, step_mm; pixel_to_ras (T, 4, 4)     its request is the stack's number from here on
    frames       first; frames (n, H, W[, 3])               a chunk; has the request of its open_stack, as has the
                                                            done that follows the last chunk
    set_prompts  stack; prompts                             PromptSet.to_json() as UTF-8 bytes
    preview      stack, frame
    propagate    stack, direction, range, locked, ends, changed; locked (M, H, W/8)
    cancel       target[, error, sentence]                  answered at once with cancelled for the target
    release      stack
    ping                                                    answered with alive
    shutdown                                                answered with done; the worker ends

Replies::

    hello        release, pid
    alive                                                   every HEARTBEAT_S, whatever the worker is doing
    result       frame, objects, width; masks (N, H, W/8) packed bits, scores (N, 4)
    done | cancelled | failed (error, sentence)             exactly one of them ends every request
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

MAGIC = b"DDS2"
PROTOCOL_VERSION = 1
PREFIX = struct.Struct("<4sHHIQ")

MAX_HEADER_BYTES = 4 << 20
"""Room for the locked frames of a hundred objects; anything larger is not ours."""
MAX_PAYLOAD_BYTES = 1 << 30
CHUNK_BYTES = 1 << 20
"""Frames are sent in chunks of about this size, so that a cancel never waits long behind them."""
ACCEPTED_DTYPES = ("uint8", "float64")

HEARTBEAT_S = 1.0
SILENCE_LIMIT_S = 20.0
"""A worker not heard of for this long is given up. Twenty heartbeats, since some library calls hold Python's lock."""
LOADING_LIMIT_S = 300.0
"""The same while it starts or loads a model: importing torch from a cold disk can take minutes."""
CANCEL_LIMIT_S = 0.9
"""The client ends a cancelled request by itself after this time, so that stop takes less than a second."""

FINAL_KINDS = frozenset({"done", "cancelled", "failed"})


@dataclass(frozen=True, eq=False)
class Message:
    """One message of either direction.

    Attributes:
        kind: One of the kinds above.
        request: Number of the request it is, or answers.
        fields: Values of the header, JSON types only.
        arrays: Arrays of the payload by name.
    """

    kind: str
    request: int = 0
    fields: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, NDArray] = field(default_factory=dict)
