"""Which packets a decoder needs for some frames of a stream, bit for bit.

Most decoding time goes into frames that are not needed. Two kinds of packets can be skipped without changing any other
frame, and both are recognized by the first bytes of a packet's units:

- *disposable* packets, which no frame references: H.264 slices with `nal_ref_idc` 0 (ITU-T H.264, 7.4.1), and HEVC's
  sub-layer non-reference pictures (ITU-T H.265, table 7-1) if no higher temporal sub-layer could reference them;
- all packets after the last needed frame of a group: a *random access point* (an IDR picture of H.264 or HEVC, a key
  frame of VP8 or VP9, a shown key frame of AV1) resets the decoder, so no later packet depends on an earlier one.

Open groups begin with other pictures and are no random access points. A packet with more than pictures (parameter
sets), or one that cannot be parsed, is always decoded, with everything that it may depend on.

Unreferenced frames of VP9 and AV1 are decoded too: detecting them takes half of the codec's header parser, because a
frame may pass on its entropy statistics even if it passes on no picture.
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
_HEVC_IGNORABLE = {35, 38, 39, 40}  # access unit delimiter, filler, prefix and suffix SEI
_AVCC_LENGTH_SIZE, _HVCC_LENGTH_SIZE = 4, 21  # byte offsets of the length size in avcC and hvcC (ISO/IEC 14496-15)
_AV1_SEQUENCE_HEADER, _AV1_FRAME_HEADERS = 1, (3, 6)  # obu_type (AV1 specification, 6.2.2)


@dataclass(frozen=True)
class PacketInfo:
    """Dependencies of a packet.

    Attributes:
        is_random_access: No later packet depends on an earlier one.
        is_disposable: No frame of the same or a lower temporal sub-layer references it.
        must_decode: Holds more than pictures, or cannot be parsed.
        temporal_layer: HEVC's temporal sub-layer, else 0.
    """

    is_random_access: bool = False
    is_disposable: bool = False
    must_decode: bool = False
    temporal_layer: int = 0


UNKNOWN = PacketInfo(must_decode=True)


def find_required_packets(packet_infos: Sequence[PacketInfo], is_target: Sequence[bool]) -> list[bool]:
    """Find the packets to decode so that the target frames equal those of a complete decoding.

    Args:
        packet_infos: One per packet, in decoding order.
        is_target: Whether the packet's frame is needed, one per packet.

    Returns:
        Whether to decode the packet, one per packet.
    """
    required = [False] * len(packet_infos)
    starts = sorted({0, *(n for n, info in enumerate(packet_infos) if info.is_random_access)})
    top_layer = max((info.temporal_layer for info in packet_infos), default=0)
    for begin, end in pairwise([*starts, len(packet_infos)]):
        last = max((n for n in range(begin, end) if is_target[n] or packet_infos[n].must_decode), default=begin - 1)
        for n in range(begin, last + 1):
            info = packet_infos[n]
            required[n] = is_target[n] or not (info.is_disposable and info.temporal_layer == top_layer)
    return required


def parse_packet_infos(packets: Sequence, codec: str, extradata: bytes | None) -> list[PacketInfo]:
    """Parse the dependencies of packets.

    Args:
        packets: Packets in decoding order; anything with the buffer protocol.
        codec: libavcodec's name of the codec.
        extradata: The codec's configuration record (avcC, hvcC), if any.

    Returns:
        One PacketInfo per packet.
    """
    parse = _make_parser(codec, extradata or b"")
    return [_parse_packet(parse, memoryview(packet)) for packet in packets]


def _parse_packet(parse: Callable[[memoryview], PacketInfo], data: memoryview) -> PacketInfo:
    try:
        return parse(data)
    except (IndexError, ValueError):  # truncated or corrupted
        return UNKNOWN


def _make_parser(codec: str, extradata: bytes) -> Callable[[memoryview], PacketInfo]:
    if codec in ("h264", "hevc"):
        parse_units = _parse_h264 if codec == "h264" else _parse_hevc
        offset = _AVCC_LENGTH_SIZE if codec == "h264" else _HVCC_LENGTH_SIZE
        is_length_prefixed = len(extradata) > offset and extradata[0] == 1
        length_size = (extradata[offset] & 3) + 1 if is_length_prefixed else 0
        return lambda data: parse_units(
            _iter_length_prefixed(data, length_size) if length_size else _iter_annex_b(data)
        )
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
    """Yield the NAL units of a packet in MP4's and Matroska's format: each after its length."""
    offset = 0
    while offset < len(data):
        size = int.from_bytes(data[offset : offset + length_size], "big")
        offset += length_size
        if not size or offset + size > len(data):
            raise ValueError("a NAL unit extends past its packet")
        yield data[offset : offset + size]
        offset += size


def _iter_annex_b(data: memoryview) -> Iterator[memoryview]:
    """Yield the NAL units of a packet in a transport stream's format: each after 00 00 01."""
    content = bytes(data)
    start = content.find(b"\0\0\1")
    if start < 0:
        raise ValueError("no start code")
    while start >= 0:
        next_start = content.find(b"\0\0\1", start + 3)
        yield data[start + 3 : next_start if next_start >= 0 else len(data)]
        start = next_start


def _parse_h264(nal_units: Iterator[memoryview]) -> PacketInfo:
    unit_types: set[int] = set()
    is_referenced = False
    for unit in nal_units:
        unit_type = unit[0] & 31
        unit_types.add(unit_type)
        is_referenced |= unit_type not in _H264_IGNORABLE and bool(unit[0] & 0x60)
    pictures = unit_types & {_H264_SLICE, _H264_IDR}
    must_decode = not pictures or bool(unit_types - pictures - _H264_IGNORABLE)
    is_disposable = pictures == {_H264_SLICE} and not is_referenced and not must_decode
    return PacketInfo(pictures == {_H264_IDR}, is_disposable, must_decode)


def _parse_hevc(nal_units: Iterator[memoryview]) -> PacketInfo:
    unit_types: set[int] = set()
    temporal_layer = 0
    for unit in nal_units:
        unit_types.add(unit[0] >> 1 & 63)
        temporal_layer = max(temporal_layer, (unit[1] & 7) - 1)
        if unit[0] & 1 or unit[1] >> 3:
            return UNKNOWN  # a second layer: stereo or scalable
    pictures = unit_types & _HEVC_VCL
    must_decode = not pictures or bool(unit_types - pictures - _HEVC_IGNORABLE)
    is_random_access = pictures <= _HEVC_IDR and bool(pictures)
    return PacketInfo(is_random_access, pictures <= _HEVC_DISPOSABLE and not must_decode, must_decode, temporal_layer)


def _parse_vp8(data: memoryview) -> PacketInfo:
    return PacketInfo(is_random_access=not data[0] & 1)  # RFC 6386, 9.1


def _parse_vp9(data: memoryview) -> PacketInfo:
    header = data[0]  # marker 10, two bits of profile, show_existing_frame, frame_type (0: key), ...
    if header >> 6 != 2 or header >> 4 & 3 == 3:
        return UNKNOWN
    return PacketInfo(is_random_access=not header & 0b1100)


def _parse_av1(data: memoryview) -> PacketInfo:
    """Detect a temporal unit whose first frame is a shown key frame (AV1 specification, 5.3 and 5.9)."""
    offset, has_sequence_header = 0, False
    while offset < len(data):
        header = data[offset]
        obu_type, has_extension, has_size = header >> 3 & 15, header >> 2 & 1, header >> 1 & 1
        offset += 1 + has_extension
        size, shift = 0, 0
        while has_size:
            byte = data[offset]
            offset += 1
            size |= (byte & 127) << shift
            shift += 7
            if not byte & 128:
                break
            if shift > 28:
                return UNKNOWN
        if obu_type in _AV1_FRAME_HEADERS:  # show_existing_frame, frame_type, show_frame
            is_shown_key_frame = data[offset] >> 4 == 0b0001
            return PacketInfo(
                is_random_access=has_sequence_header and is_shown_key_frame,
                must_decode=has_sequence_header and not is_shown_key_frame,
            )
        has_sequence_header |= obu_type == _AV1_SEQUENCE_HEADER
        offset += size if has_size else len(data)
    return UNKNOWN
