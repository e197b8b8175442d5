"""Write traces in Perfetto's protobuf format: processes, tracks, slices, counters and flows, packet by packet.

A trace is a sequence of packets, field 1 of the message Trace. All packets here are one sequence, whose first says that
what follows refers to strings by number: a string is sent with the packet that first uses it. Field numbers are of
protos/perfetto/trace (trace_packet, track_event, track_descriptor, interned_data, debug_annotation), checked against
the `perfetto` package by tests/unit/test_perfetto.py. Times are nanoseconds from 0.
"""

import os
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import BinaryIO

from gossamer.arch.errors import GossamerError

Value = int | float | str
"""Of an annotation; an int must be at least 0."""

_VARINT, _FIXED64, _BYTES = 0, 1, 2
_SEQUENCE = b"\x50\x01"
"""TracePacket.trusted_packet_sequence_id = 1."""
_CLEARED, _REFERS = 1, 2
"""TracePacket.sequence_flags: strings are numbered anew from here; this packet uses them."""
_BUFFER_BYTES = 1 << 16


class _Event(IntEnum):
    """TrackEvent.type."""

    BEGIN = 1
    END = 2
    COUNTER = 4


class _Strings(IntEnum):
    """Fields of InternedData, each with numbers of its own."""

    EVENT_NAME = 2
    ANNOTATION_NAME = 3
    ANNOTATION_VALUE = 29


def _varint(value: int) -> bytes:
    """Return a number of at least 0 in groups of seven bits, least significant first."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3 | _VARINT) + _varint(value)


def _bytes(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | _BYTES) + _varint(len(content)) + content


def _text(field: int, text: str) -> bytes:
    return _bytes(field, text.encode())


class PerfettoWriter:
    """A trace being written to a stream; get one from `perfetto_writer`.

    Events of a track must come in the order of their times, an end before a begin of the same time, and slices of a
    track must not overlap: this is not checked. Tracks are declared before their events.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._tracks = 0
        self._known: dict[tuple[_Strings, str], int] = {}
        self._counts = dict.fromkeys(_Strings, 0)
        self._new = b""
        self._packet(_number(13, _CLEARED | _REFERS) + _number(87, 1))

    def process(self, name: str) -> int:
        """Declare a group of tracks; groups are shown in the order of declaration."""
        track = self._next_track()
        body = _number(1, track) + _bytes(3, _number(1, track) + _text(6, name)) + _number(11, 3)
        self._packet(_bytes(60, body + _number(12, track)))
        return track

    def track(self, process: int, name: str) -> int:
        """Declare a track of slices in a group, below the group's earlier ones."""
        track = self._next_track()
        self._packet(_bytes(60, self._child(track, process, name)))
        return track

    def counter(self, process: int, name: str, unit: str) -> int:
        """Declare a track of a number over time, with the unit's name."""
        track = self._next_track()
        self._packet(_bytes(60, self._child(track, process, name) + _bytes(8, _text(6, unit))))
        return track

    def begin(
        self, track: int, time_ns: int, name: str, annotations: Mapping[str, Value] | None = None, *,
        flows_out: tuple[int, ...] = (), flows_in: tuple[int, ...] = (),
    ) -> None:  # fmt: skip
        """Begin a slice. An arrow leads from the slice that has a number in `flows_out` to that with it in `flows_in`.

        Annotations that are strings should repeat: each different one is kept in memory.
        """
        body = _number(10, self._string(_Strings.EVENT_NAME, name))
        for key, value in ({} if annotations is None else annotations).items():
            body += _bytes(4, _number(1, self._string(_Strings.ANNOTATION_NAME, key)) + self._value(value))
        for field, flows in ((47, flows_out), (48, flows_in)):
            for flow in flows:
                body += _varint(field << 3 | _FIXED64) + struct.pack("<Q", flow)
        self._event(track, time_ns, _Event.BEGIN, body)

    def end(self, track: int, time_ns: int) -> None:
        """End the slice of a track that began last."""
        self._event(track, time_ns, _Event.END, b"")

    def count(self, track: int, time_ns: int, value: float) -> None:
        """Set the number of a counter track from a time on."""
        self._event(track, time_ns, _Event.COUNTER, _varint(44 << 3 | _FIXED64) + struct.pack("<d", value))

    def _next_track(self) -> int:
        self._tracks += 1
        return self._tracks

    def _child(self, track: int, process: int, name: str) -> bytes:
        """Return the TrackDescriptor of a track in a group, whose order is that of the numbers."""
        return _number(1, track) + _number(5, process) + _text(2, name) + _number(12, track)

    def _value(self, value: Value) -> bytes:
        if isinstance(value, str):
            return _number(17, self._string(_Strings.ANNOTATION_VALUE, value))
        if isinstance(value, float):
            return _varint(5 << 3 | _FIXED64) + struct.pack("<d", value)
        return _number(3, value)

    def _string(self, kind: _Strings, text: str) -> int:
        """Return the number of a string; the next packet brings it if it is new."""
        number = self._known.get((kind, text))
        if number is None:
            self._counts[kind] += 1
            number = self._known[kind, text] = self._counts[kind]
            self._new += _bytes(kind, _number(1, number) + _text(2, text))
        return number

    def _event(self, track: int, time_ns: int, kind: _Event, body: bytes) -> None:
        event = _number(9, kind) + _number(11, track) + body
        strings, self._new = self._new, b""
        packet = _number(8, time_ns) + _number(13, _REFERS) + (_bytes(12, strings) if strings else b"")
        self._packet(packet + _bytes(11, event))

    def _packet(self, content: bytes) -> None:
        self._stream.write(_bytes(1, content + _SEQUENCE))


@contextmanager
def perfetto_writer(path: Path) -> Iterator[PerfettoWriter]:
    """Yield a writer of a trace file that appears, complete, when the block ends; without it if that raises.

    Raises GossamerError if the file cannot be written.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with part.open("wb", buffering=_BUFFER_BYTES) as stream:
            yield PerfettoWriter(stream)
        part.replace(path)
    except OSError as error:
        raise GossamerError(f"{path}: cannot write the trace: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)
