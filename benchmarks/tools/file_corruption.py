"""Corrupted copies of an intact MP4, as from failed downloads, bad disks, or attacks; deterministic given a seed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

BOX_TYPES = (
    *(b"moov", b"mdat", b"trak", b"mdia", b"stbl", b"stsd", b"stts", b"stsc", b"stsz", b"stco"),
    *(b"avcC", b"elst", b"ctts"),
)
BOX_SIZES = (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\0\0\0\1", b"\0\0\0\7")
TABLE_TYPES = (b"stts", b"stsc", b"stsz", b"stco", b"ctts", b"elst")


def corrupt_copies(data: bytes, count: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """Yield `count` pairs of kind and content, cycling through the kinds.

    Args:
        data: Content of an MP4.
        count: Number of copies.
        seed: Seed of the corruption.

    Yields:
        Name of the kind of corruption, and content of the copy.
    """
    rng = np.random.default_rng(seed)
    kinds = (
        flip_bytes,
        flip_index_bytes,
        truncate,
        change_box_size,
        swap_box_types,
        inflate_table,
        zero_range,
        move_range,
        empty,
    )
    for number in range(count):
        kind = kinds[number % len(kinds)]
        yield kind.__name__, bytes(kind(bytearray(data), rng))


def flip_bytes(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Change up to thirty bytes anywhere."""
    for offset in rng.integers(0, len(data), rng.integers(1, 30)):
        data[offset] = rng.integers(256)
    return data


def flip_index_bytes(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Change bytes in the index, which holds sizes and counts."""
    for offset in rng.integers(data.rfind(b"moov"), len(data), rng.integers(1, 6)):
        data[offset] = rng.integers(256)
    return data


def truncate(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Keep only the beginning."""
    return data[: rng.integers(1, len(data))]


def change_box_size(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Declare a huge, zero, or impossible size for a box."""
    offset = _find_box(data, rng)
    data[offset - 4 : offset] = BOX_SIZES[rng.integers(len(BOX_SIZES))]
    return data


def swap_box_types(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Swap the types of two boxes."""
    a, b = _find_box(data, rng), _find_box(data, rng)
    data[a : a + 4], data[b : b + 4] = data[b : b + 4], data[a : a + 4]
    return data


def inflate_table(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Declare up to four billion entries in a sample table."""
    offset = _find_box(data, rng, TABLE_TYPES)
    entries = offset + 8 + (4 if data[offset : offset + 4] == b"stsz" else 0)
    data[entries : entries + 4] = int(rng.integers(2**20, 2**32)).to_bytes(4, "big")
    if data[offset : offset + 4] == b"stsz":
        data[offset + 8 : offset + 12] = int(rng.integers(0, 3)).to_bytes(4, "big")  # all samples of one size
    return data


def zero_range(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Zero a range, as in an incomplete download."""
    start = rng.integers(len(data))
    length = min(int(rng.integers(1, 4096)), len(data) - start)
    data[start : start + length] = bytes(length)
    return data


def move_range(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Move a range of bytes elsewhere in the file."""
    start, length, target = rng.integers(len(data)), rng.integers(1, 2000), rng.integers(len(data))
    piece = data[start : start + length]
    del data[start : start + length]
    data[target:target] = piece
    return data


def empty(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Remove all bytes, or all except the first few."""
    return data[: rng.choice([0, 0, 1, 8, 32])]


def _find_box(data: bytearray, rng: np.random.Generator, types: tuple[bytes, ...] = BOX_TYPES) -> int:
    """Return the offset of the type of a random box."""
    offsets = [offset for name in types for offset in (data.find(name), data.rfind(name)) if offset >= 4]
    return int(rng.choice(offsets))
