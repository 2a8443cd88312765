"""Clip stores to be compared: ours and what one would use instead.

Each writes clips, opens what it wrote, and reads a clip by its place. A format gives back what was written: sound as
float32, and the JPEGs' bytes.
"""

from __future__ import annotations

import os
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from synesthesia.data import media
from synesthesia.data.store import CLIPS_PER_BATCH, Store, StoreWriter

Payload = tuple[str, np.ndarray, list[bytes]]
SETTINGS = {
    "sample_rate": 16000,
    "clip_seconds": 10.0,
    "min_seconds": 8.0,
    "frames_per_second": 1.0,
    "jpeg_quality": 92,
}
SHARD = 1024


def filmed(path: Path, photo: np.ndarray, size: tuple[int, int], seed: int) -> None:
    """An H.264 clip of 10 s that pans over a photograph and has a noisy tone."""
    rng = np.random.default_rng(seed)
    picture = Image.fromarray(photo).resize((size[0] * 5 // 4, size[1] * 5 // 4), Image.Resampling.LANCZOS)
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=30)
        video.width, video.height, video.pix_fmt, video.gop_size = *size, "yuv420p", 120
        video.options = {"preset": "veryfast", "crf": "23"}
        sound = out.add_stream("aac", rate=44100, layout="mono")
        for n in range(300):
            left, top = n * (picture.width - size[0]) // 300, n * (picture.height - size[1]) // 300
            view = picture.crop((left, top, left + size[0], top + size[1]))
            out.mux(video.encode(av.VideoFrame.from_image(view)))
        out.mux(video.encode())
        t = np.arange(441000) / 44100
        wave = (0.3 * np.sin(2 * np.pi * 330 * t) + 0.1 * rng.standard_normal(len(t))).astype(np.float32)
        for start in range(0, len(wave) // 1024 * 1024, 1024):
            frame = av.AudioFrame.from_ndarray(wave[None, start : start + 1024], format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 44100, start
            out.mux(sound.encode(frame))
        out.mux(sound.encode())


def clips_of_the_papers_size() -> list[media.DecodedClip]:
    """Four clips as curate would keep them, of 360 and 720 lines."""
    from sklearn.datasets import load_sample_images

    photos = load_sample_images().images
    with tempfile.TemporaryDirectory() as folder:
        made = []
        for number, size in enumerate([(640, 360), (640, 360), (1280, 720), (1280, 720)]):
            path = Path(folder, f"{number}.mp4")
            filmed(path, photos[number % 2], size, number)
            made.append(media.decode(path, **SETTINGS, max_pixels=262144))
    return made


def large(count: int) -> Iterable[Payload]:
    """Clips of the paper's size; no two have the same sound or the same bytes of a picture."""
    made = clips_of_the_papers_size()
    for n in range(count):
        clip = made[n % len(made)]
        yield f"{n:011d}_000010", np.roll(clip.audio, 97 * n), [data + f"{n:08d}".encode() for data in clip.jpegs]


def random(count: int, samples: int, frames: int, frame_bytes: int) -> Iterable[Payload]:
    """Clips of noise, of any size."""
    noise = memoryview(np.random.default_rng(0).bytes(1 << 24))
    sound, frame_starts = 2 * samples, range(2 * samples, 2 * samples + frames * frame_bytes, frame_bytes)
    for n in range(count):
        clip = noise[n * 9973 % (len(noise) // 2) :][: sound + frames * frame_bytes].tobytes()
        jpegs = [clip[start : start + frame_bytes] for start in frame_starts]
        yield f"{n:011d}_000010", np.frombuffer(clip[:sound], np.int16), jpegs


class Ours:
    """This project's store; `checked` compares each clip's CRC-32."""

    name, checked = "synesthesia (Arrow, CRC-32)", True

    @staticmethod
    def write(folder: Path, clips: Iterable[Payload]) -> None:
        with StoreWriter(folder, SHARD) as writer:
            for clip in clips:
                writer.add(*clip)

    def __init__(self, folder: Path):
        self.store = Store(folder, verify_crc=self.checked)

    def read(self, index: int) -> tuple[np.ndarray, list[bytes]]:
        place = index // SHARD, index % SHARD
        return self.store.audio(*place), self.store.jpegs(*place)


class Unchecked(Ours):
    name, checked = "the same, unchecked", False


def floats(sound: bytes | np.ndarray) -> np.ndarray:
    return np.multiply(np.frombuffer(sound, "<i2"), np.float32(2**-15), dtype=np.float32)


class Flat:
    """No store at all: clips of one size, all sound in one file and all frames in another, nothing to look up or check.

    What this loses as it grows is lost to the processor's caches.
    """

    @staticmethod
    def write(folder: Path, clips: Iterable[Payload]) -> None:
        folder.mkdir()
        with open(folder / "sound", "wb") as sounds, open(folder / "frames", "wb") as frames:
            for _, sound, jpegs in clips:
                sounds.write(sound.astype("<i2").tobytes())
                frames.writelines(jpegs)
        (folder / "shape").write_text(f"{len(sound)} {len(jpegs)} {len(jpegs[0])}")

    def __init__(self, folder: Path):
        samples, frames, frame_bytes = map(int, (folder / "shape").read_text().split())
        self.sounds = np.asarray(np.memmap(folder / "sound", "<i2", "r")).reshape(-1, samples)
        self.frames = np.asarray(np.memmap(folder / "frames", np.uint8, "r")).reshape(-1, frames, frame_bytes)

    def read(self, index: int) -> tuple[np.ndarray, list[bytes]]:
        return floats(self.sounds[index]), [frame.tobytes() for frame in self.frames[index]]


class Parquet:
    """Row groups of as many clips as our record batches have, not compressed, files kept open."""

    name = "Parquet"
    schema = pa.schema([("clip_id", pa.string()), ("audio", pa.binary()), ("frames", pa.list_(pa.binary()))])
    group = CLIPS_PER_BATCH

    @classmethod
    def write(cls, folder: Path, clips: Iterable[Payload]) -> None:
        folder.mkdir()
        for number, rows in enumerate(pieces(clips, SHARD)):
            table = pa.table(list(map(list, zip(*rows, strict=True))), schema=cls.schema)
            pq.write_table(table, folder / f"{number:05d}.parquet", row_group_size=cls.group, compression="none")

    def __init__(self, folder: Path):
        self.files = [pq.ParquetFile(path, memory_map=True) for path in sorted(folder.iterdir())]

    def read(self, index: int) -> tuple[np.ndarray, list[bytes]]:
        group = self.files[index // SHARD].read_row_group(index % SHARD // self.group, ["audio", "frames"])
        row = index % self.group
        return floats(group["audio"][row].as_py()), group["frames"][row].as_py()


class ParquetSingly(Parquet):
    name, group = "Parquet, a clip a row group", 1


class Tar:
    """WebDataset's shards, written by the package; read at random through an index of the members' offsets."""

    name = "WebDataset (tar) with an index"

    @staticmethod
    def write(folder: Path, clips: Iterable[Payload]) -> None:
        import webdataset

        folder.mkdir()
        with webdataset.ShardWriter(f"{folder}/%05d.tar", maxcount=SHARD, maxsize=1e12, verbose=0) as writer:
            for name, sound, jpegs in clips:
                frames = {f"{n:02d}.jpg": data for n, data in enumerate(jpegs)}
                writer.write({"__key__": name, "s16": sound.astype("<i2").tobytes(), **frames})

    def __init__(self, folder: Path):
        self.places: list[tuple[int, list[tuple[int, int]]]] = []
        self.files = []
        for path in sorted(folder.iterdir()):
            last = None
            with tarfile.open(path) as tar:
                for member in tar:
                    key = member.name.split(".")[0]
                    if key != last:
                        self.places.append((len(self.files), []))
                        last = key
                    self.places[-1][1].append((member.name, member.offset_data, member.size))
            self.files.append(os.open(path, os.O_RDONLY))

    def read(self, index: int) -> tuple[np.ndarray, list[bytes]]:
        file, members = self.places[index]
        read = {name: os.pread(self.files[file], size, offset) for name, offset, size in members}
        sound = next(data for name, data in read.items() if name.endswith(".s16"))
        return floats(sound), [read[name] for name in sorted(read) if name.endswith(".jpg")]


class Lance:
    """A Lance data set with the same columns."""

    name = "Lance"

    @staticmethod
    def write(folder: Path, clips: Iterable[Payload]) -> None:
        import lance

        batches = (
            pa.record_batch(list(map(list, zip(*rows, strict=True))), schema=Parquet.schema)
            for rows in pieces(clips, CLIPS_PER_BATCH)
        )
        lance.write_dataset(pa.RecordBatchReader.from_batches(Parquet.schema, batches), str(folder),
                            max_rows_per_file=SHARD)  # fmt: skip

    def __init__(self, folder: Path):
        import lance

        self.data = lance.dataset(str(folder))

    def read(self, index: int) -> tuple[np.ndarray, list[bytes]]:
        row = self.data.take([index], columns=["audio", "frames"])
        return floats(row["audio"][0].as_py()), row["frames"][0].as_py()


def pieces(clips: Iterable[Payload], size: int) -> Iterable[list[tuple]]:
    rows = []
    for name, sound, jpegs in clips:
        rows.append((name, sound.astype("<i2").tobytes(), jpegs))
        if len(rows) == size:
            yield rows
            rows = []
    if rows:
        yield rows


def formats() -> list[type]:
    """Those that can be measured here; says which cannot."""
    found = [Ours, Unchecked, Parquet, ParquetSingly]
    for name, kind in (("webdataset", Tar), ("lance", Lance)):
        try:
            __import__(name)
            found.append(kind)
        except ImportError:
            print(f"{kind.name} is not installed: pip install -e .[bench]")
    return found
