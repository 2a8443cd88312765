"""Which packets have to be decoded to get some frames of a stream, bit for bit.

A decoder spends its time on frames that nobody wants. Two kinds of packets can be left out without changing any other
frame, and both can be told from the first bytes of a packet's parts:

- *spare* ones, to which no frame refers: H.264 slices with `nal_ref_idc` 0 (ITU-T H.264, 7.4.1), and HEVC's sub-layer
  non-reference pictures (ITU-T H.265, table 7-1) where no higher temporal sub-layer is there that could use them;
- the rest of a group behind its last wanted frame: a *restart* (an IDR picture of H.264 or HEVC, a key frame of VP8
  or VP9, a shown key frame of AV1) empties the decoder's memory, so nothing behind it depends on anything before it.

Open groups begin with other pictures than these and are no restart. A packet that *holds* more than pictures
(parameter sets), or that is not understood, is always decoded, with all that it may depend on.

Frames of VP9 and AV1 that no frame refers to are decoded too: telling them takes half of the codec's header parser,
since a frame may hand on its entropy statistics where it hands on no picture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

_H264_SLICE, _H264_IDR = 1, 5
_H264_IGNORABLE = {6, 9, 12}  # SEI, access unit delimiter, filler
_HEVC_IDR = {19, 20}
_HEVC_DISPOSABLE = set(range(0, 16, 2))  # TRAIL_N ... RSV_VCL_N14
_HEVC_VCL = set(range(32))
_HEVC_IGNORABLE = {35, 38, 39, 40}  # access unit delimiter, filler, SEI before and after


@dataclass(frozen=True)
class PacketInfo:
    """What a packet is to the others. `layer` is HEVC's temporal sub-layer, 0 elsewhere."""

    is_random_access: bool = False
    is_disposable: bool = False
    must_decode: bool = False
    temporal_layer: int = 0


UNKNOWN = PacketInfo(must_decode=True)


def find_required_packets(packet_infos: Sequence[PacketInfo], is_target: Sequence[bool]) -> list[bool]:
    """For packets in decoding order: which to decode so that the wanted ones' frames are those of a whole decoding."""
    keep = [False] * len(packet_infos)
    starts = sorted({0, *(n for n, role in enumerate(packet_infos) if role.is_random_access)})
    top = max((role.temporal_layer for role in packet_infos), default=0)
    for begin, end in pairwise([*starts, len(packet_infos)]):
        last = max((n for n in range(begin, end) if is_target[n] or packet_infos[n].must_decode), default=begin - 1)
        for n in range(begin, last + 1):
            keep[n] = is_target[n] or not (packet_infos[n].is_disposable and packet_infos[n].temporal_layer == top)
    return keep


def parse_packet_infos(packets: Sequence, codec: str, extradata: bytes | None) -> list[PacketInfo]:
    """The role of each packet (anything with the buffer protocol) of a codec by libavcodec's name."""
    read = _make_parser(codec, extradata or b"")
    return [_parse_packet(read, memoryview(packet)) for packet in packets]


def _parse_packet(parse: Callable[[memoryview], PacketInfo], data: memoryview) -> PacketInfo:
    try:
        return parse(data)
    except (IndexError, ValueError):  # cut or garbled
        return UNKNOWN


def _make_parser(codec: str, extradata: bytes) -> Callable[[memoryview], PacketInfo]:
    if codec in ("h264", "hevc"):
        of_units = _parse_h264 if codec == "h264" else _parse_hevc
        place = 4 if codec == "h264" else 21  # of the length's size in avcC and hvcC (ISO/IEC 14496-15)
        prefixed = len(extradata) > place and extradata[0] == 1
        width = (extradata[place] & 3) + 1 if prefixed else 0
        return lambda data: of_units(_iter_length_prefixed(data, width) if width else _iter_annex_b(data))
    by_name = {
        "vp8": _parse_vp8,
        "libvpx": _parse_vp8,
        "vp9": _parse_vp9,
        "libvpx-vp9": _parse_vp9,
        "av1": _parse_av1,
        "libdav1d": _parse_av1,
    }
    return by_name.get(codec, lambda data: UNKNOWN)


def _iter_length_prefixed(data: memoryview, length_size: int) -> Iterator[memoryview]:
    """The NAL units of a packet of MP4's or Matroska's kind: each behind its length."""
    place = 0
    while place < len(data):
        size = int.from_bytes(data[place : place + length_size], "big")
        place += length_size
        if not size or place + size > len(data):
            raise ValueError("a unit that ends behind its packet")
        yield data[place : place + size]
        place += size


def _iter_annex_b(data: memoryview) -> Iterator[memoryview]:
    """The NAL units of a packet of a transport stream's kind: each behind 00 00 01."""
    whole = bytes(data)
    place = whole.find(b"\0\0\1")
    if place < 0:
        raise ValueError("no start code")
    while place >= 0:
        behind = whole.find(b"\0\0\1", place + 3)
        yield data[place + 3 : behind if behind >= 0 else len(data)]
        place = behind


def _parse_h264(nal_units: Iterator[memoryview]) -> PacketInfo:
    kinds, referred = set(), False
    for unit in nal_units:
        kind = unit[0] & 31
        kinds.add(kind)
        referred |= kind not in _H264_IGNORABLE and bool(unit[0] & 0x60)
    pictures = kinds & {_H264_SLICE, _H264_IDR}
    holds = not pictures or bool(kinds - pictures - _H264_IGNORABLE)
    return PacketInfo(pictures == {_H264_IDR}, pictures == {_H264_SLICE} and not referred and not holds, holds)


def _parse_hevc(nal_units: Iterator[memoryview]) -> PacketInfo:
    kinds, layer = set(), 0
    for unit in nal_units:
        kinds.add(unit[0] >> 1 & 63)
        layer = max(layer, (unit[1] & 7) - 1)
        if unit[0] & 1 or unit[1] >> 3:
            return UNKNOWN  # a second layer: stereo or scalable
    pictures = kinds & _HEVC_VCL
    holds = not pictures or bool(kinds - pictures - _HEVC_IGNORABLE)
    return PacketInfo(
        pictures <= _HEVC_IDR and bool(pictures), pictures <= _HEVC_DISPOSABLE and not holds, holds, layer
    )


def _parse_vp8(data: memoryview) -> PacketInfo:
    return PacketInfo(is_random_access=not data[0] & 1)  # RFC 6386, 9.1


def _parse_vp9(data: memoryview) -> PacketInfo:
    first = data[0]  # marker 10, two bits of profile, show_existing_frame, frame_type (0: key), ...
    if first >> 6 != 2 or first >> 4 & 3 == 3:
        return UNKNOWN
    return PacketInfo(is_random_access=not first & 0b1100)


def _parse_av1(data: memoryview) -> PacketInfo:
    """AV1 specification, 5.3 and 5.9: a temporal unit whose first frame is a key frame and shown."""
    place, sequence = 0, False
    while place < len(data):
        header = data[place]
        kind, extended, sized = header >> 3 & 15, header >> 2 & 1, header >> 1 & 1
        place += 1 + extended
        size, shift = 0, 0
        while sized:
            byte = data[place]
            place += 1
            size |= (byte & 127) << shift
            shift += 7
            if not byte & 128:
                break
            if shift > 28:
                return UNKNOWN
        if kind in (3, 6):  # a frame's header: show_existing_frame, frame_type, show_frame
            first = data[place]
            return PacketInfo(
                is_random_access=sequence and first >> 4 == 0b0001, must_decode=sequence and first >> 4 != 0b0001
            )
        sequence |= kind == 1
        place += size if sized else len(data)
    return UNKNOWN
