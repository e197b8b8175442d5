"""Read traces with Perfetto's own protobuf definitions, and check every packet against those before it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as protos

EVENT = protos.TrackEvent
CLEARED, REFERS = protos.TracePacket.SEQ_INCREMENTAL_STATE_CLEARED, protos.TracePacket.SEQ_NEEDS_INCREMENTAL_STATE


@dataclass
class Slice:
    name: str
    begin_ns: int
    end_ns: int | None = None
    annotations: dict[str, Any] = field(default_factory=dict)
    flows_out: list[int] = field(default_factory=list)
    flows_in: list[int] = field(default_factory=list)


@dataclass
class Track:
    name: str
    process: str
    rank: int
    is_counter: bool = False
    slices: list[Slice] = field(default_factory=list)
    counts: list[tuple[int, float]] = field(default_factory=list)


def read_trace(path: Path) -> dict[tuple[str, str], Track]:
    """Return the tracks of a trace by process and name, after checking every packet against those before it."""
    trace = protos.Trace.FromString(path.read_bytes())
    assert trace.SerializeToString(deterministic=True)
    strings: dict[str, dict[int, str]] = {"event_names": {}, "debug_annotation_names": {}, "values": {}}
    processes: dict[int, str] = {}
    tracks: dict[int, Track] = {}
    open_slices: dict[int, Slice] = {}
    latest: dict[int, int] = {}
    for number, packet in enumerate(trace.packet):
        assert packet.trusted_packet_sequence_id == 1
        assert bool(packet.sequence_flags & CLEARED) == (number == 0) == packet.first_packet_on_sequence
        if packet.HasField("track_descriptor"):
            declared = packet.track_descriptor
            assert declared.uuid not in tracks | processes
            if declared.HasField("process"):
                assert declared.process.pid > 0
                processes[declared.uuid] = declared.process.process_name
            else:
                tracks[declared.uuid] = Track(
                    declared.name, processes[declared.parent_uuid], declared.sibling_order_rank,
                    declared.HasField("counter"),
                )  # fmt: skip
            continue
        if number == 0:
            continue
        assert packet.HasField("track_event")
        assert packet.sequence_flags & REFERS
        for kind, known in (("event_names", "event_names"), ("debug_annotation_names",) * 2):
            for entry in getattr(packet.interned_data, kind):
                assert entry.iid not in strings[known]
                assert entry.name not in strings[known].values()
                strings[known][entry.iid] = entry.name
        for entry in packet.interned_data.debug_annotation_string_values:
            assert entry.iid not in strings["values"]
            strings["values"][entry.iid] = entry.str.decode()
        event = packet.track_event
        track = tracks[event.track_uuid]
        assert packet.timestamp >= latest.get(event.track_uuid, 0), f"{track.name}: packet {number} goes back"
        latest[event.track_uuid] = packet.timestamp
        if event.type == EVENT.TYPE_COUNTER:
            assert track.is_counter
            track.counts.append((packet.timestamp, event.double_counter_value))
        elif event.type == EVENT.TYPE_SLICE_BEGIN:
            assert not track.is_counter
            assert event.track_uuid not in open_slices, f"{track.name}: slices overlap at {packet.timestamp} ns"
            begun = Slice(strings["event_names"][event.name_iid], packet.timestamp,
                          flows_out=list(event.flow_ids), flows_in=list(event.terminating_flow_ids))  # fmt: skip
            for each in event.debug_annotations:
                kind = each.WhichOneof("value")
                value = strings["values"][each.string_value_iid] if kind == "string_value_iid" else getattr(each, kind)
                begun.annotations[strings["debug_annotation_names"][each.name_iid]] = value
            open_slices[event.track_uuid] = begun
            track.slices.append(begun)
        else:
            assert event.type == EVENT.TYPE_SLICE_END
            open_slices.pop(event.track_uuid).end_ns = packet.timestamp
    assert all(each.end_ns is None for each in open_slices.values())
    named = {(track.process, track.name): track for track in tracks.values()}
    assert len(named) == len(tracks)
    return named
