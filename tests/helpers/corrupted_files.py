"""Damaged copies of a good file, as downloads, disks and attackers make them; all from a seed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

ATOMS = (
    *(b"moov", b"mdat", b"trak", b"mdia", b"stbl", b"stsd", b"stts", b"stsc", b"stsz", b"stco"),
    *(b"avcC", b"elst", b"ctts"),
)
SIZES = (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\0\0\0\1", b"\0\0\0\7")  # fmt: skip


def mutants(data: bytes, count: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """`count` pairs (kind, bytes) of an MP4's damaged copies, the kinds in turns."""
    rng = np.random.default_rng(seed)
    kinds = (flipped, flipped_index, cut, resized, swapped, huge_table, zeroed, spliced, emptied)
    for number in range(count):
        kind = kinds[number % len(kinds)]
        yield kind.__name__, bytes(kind(bytearray(data), rng))


def flipped(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Bytes changed anywhere, up to thirty."""
    for place in rng.integers(0, len(data), rng.integers(1, 30)):
        data[place] = rng.integers(256)
    return data


def flipped_index(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Bytes changed in the index, where sizes and counts are."""
    for place in rng.integers(data.rfind(b"moov"), len(data), rng.integers(1, 6)):
        data[place] = rng.integers(256)
    return data


def cut(data: bytearray, rng: np.random.Generator) -> bytearray:
    """The beginning only."""
    return data[: rng.integers(1, len(data))]


def resized(data: bytearray, rng: np.random.Generator) -> bytearray:
    """An atom that declares a huge, zero or impossible size."""
    place = _atom(data, rng)
    data[place - 4 : place] = SIZES[rng.integers(len(SIZES))]
    return data


def swapped(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Two atoms' names changed places."""
    one, other = _atom(data, rng), _atom(data, rng)
    data[one : one + 4], data[other : other + 4] = data[other : other + 4], data[one : one + 4]
    return data


def huge_table(data: bytearray, rng: np.random.Generator) -> bytearray:
    """A sample table that declares up to four billion entries."""
    place = _atom(data, rng, (b"stts", b"stsc", b"stsz", b"stco", b"ctts", b"elst"))
    entries = place + 8 + (4 if data[place : place + 4] == b"stsz" else 0)
    data[entries : entries + 4] = int(rng.integers(2**20, 2**32)).to_bytes(4, "big")
    if data[place : place + 4] == b"stsz":
        data[place + 8 : place + 12] = int(rng.integers(0, 3)).to_bytes(4, "big")  # all samples of one size
    return data


def zeroed(data: bytearray, rng: np.random.Generator) -> bytearray:
    """A hole, as a broken download leaves it."""
    start = rng.integers(len(data))
    length = min(int(rng.integers(1, 4096)), len(data) - start)
    data[start : start + length] = bytes(length)
    return data


def spliced(data: bytearray, rng: np.random.Generator) -> bytearray:
    """A piece of the file moved elsewhere."""
    start, length, place = rng.integers(len(data)), rng.integers(1, 2000), rng.integers(len(data))
    piece = data[start : start + length]
    del data[start : start + length]
    data[place:place] = piece
    return data


def emptied(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Nothing at all, or only the first few bytes."""
    return data[: rng.choice([0, 0, 1, 8, 32])]


def _atom(data: bytearray, rng: np.random.Generator, names: tuple[bytes, ...] = ATOMS) -> int:
    places = [place for name in names for place in (data.find(name), data.rfind(name)) if place >= 4]
    return int(rng.choice(places))
