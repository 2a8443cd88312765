"""Clip stores to compare: this project's and common alternatives.

Each writes clips, opens the result, and reads a clip by its index. A read returns the audio as float32, and the JPEGs'
bytes as written.
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
CLIPS_PER_SHARD = 1024


def write_panning_video(path: Path, photo: np.ndarray, size: tuple[int, int], seed: int) -> None:
    """Write an H.264 clip of 10 s that pans over a photograph, with a noisy tone."""
    rng = np.random.default_rng(seed)
    image = Image.fromarray(photo).resize((size[0] * 5 // 4, size[1] * 5 // 4), Image.Resampling.LANCZOS)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=30)
        video.width, video.height, video.pix_fmt, video.gop_size = *size, "yuv420p", 120
        video.options = {"preset": "veryfast", "crf": "23"}
        audio = container.add_stream("aac", rate=44100, layout="mono")
        for n in range(300):
            left, top = n * (image.width - size[0]) // 300, n * (image.height - size[1]) // 300
            view = image.crop((left, top, left + size[0], top + size[1]))
            container.mux(video.encode(av.VideoFrame.from_image(view)))
        container.mux(video.encode())
        t = np.arange(441000) / 44100
        wave = (0.3 * np.sin(2 * np.pi * 330 * t) + 0.1 * rng.standard_normal(len(t))).astype(np.float32)
        for start in range(0, len(wave) // 1024 * 1024, 1024):
            frame = av.AudioFrame.from_ndarray(wave[None, start : start + 1024], format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 44100, start
            container.mux(audio.encode(frame))
        container.mux(audio.encode())


def make_paper_size_clips() -> list[media.DecodedClip]:
    """Return four clips of 360 and 720 lines, decoded as in curate."""
    from sklearn.datasets import load_sample_images

    photos = load_sample_images().images
    with tempfile.TemporaryDirectory() as folder:
        clips = []
        for number, size in enumerate([(640, 360), (640, 360), (1280, 720), (1280, 720)]):
            path = Path(folder, f"{number}.mp4")
            write_panning_video(path, photos[number % 2], size, number)
            clips.append(media.decode(path, **SETTINGS, max_pixels=262144))
    return clips


def make_large_clips(count: int) -> Iterable[Payload]:
    """Yield clips of the paper's size; no two share audio or JPEG bytes."""
    clips = make_paper_size_clips()
    for n in range(count):
        clip = clips[n % len(clips)]
        yield f"{n:011d}_000010", np.roll(clip.audio, 97 * n), [data + f"{n:08d}".encode() for data in clip.jpegs]


def make_random_clips(count: int, samples: int, frames: int, frame_bytes: int) -> Iterable[Payload]:
    """Yield clips of noise."""
    noise = memoryview(np.random.default_rng(0).bytes(1 << 24))
    audio_bytes, frame_starts = 2 * samples, range(2 * samples, 2 * samples + frames * frame_bytes, frame_bytes)
    for n in range(count):
        clip = noise[n * 9973 % (len(noise) // 2) :][: audio_bytes + frames * frame_bytes].tobytes()
        jpegs = [clip[start : start + frame_bytes] for start in frame_starts]
        yield f"{n:011d}_000010", np.frombuffer(clip[:audio_bytes], np.int16), jpegs


class ClipStore:
    """This project's store; `verify_crc` compares each clip's CRC-32."""

    name, verify_crc = "synesthesia (Arrow, CRC-32)", True

    @staticmethod
    def write(folder: Path, clips: Iterable[Payload]) -> None:
        with StoreWriter(folder, CLIPS_PER_SHARD) as writer:
            for clip in clips:
                writer.add(*clip)

    def __init__(self, folder: Path):
        self.store = Store(folder, verify_crc=self.verify_crc)

    def read(self, index: int) -> tuple[np.ndarray, list[bytes]]:
        location = index // CLIPS_PER_SHARD, index % CLIPS_PER_SHARD
        return self.store.audio(*location), self.store.jpegs(*location)


class UncheckedClipStore(ClipStore):
    """This project's store without verification of the CRC-32."""

    name, verify_crc = "the same, unchecked", False


def to_float(audio: bytes | np.ndarray) -> np.ndarray:
    """Convert int16 samples to float32 in [-1, 1)."""
    return np.multiply(np.frombuffer(audio, "<i2"), np.float32(2**-15), dtype=np.float32)


class FlatFiles:
    """Baseline without a store: clips of one size, all audio in one file and all frames in another, without checks.

    Its slowdown with size is due to CPU caches.
    """

    @staticmethod
    def write(folder: Path, clips: Iterable[Payload]) -> None:
        folder.mkdir()
        with open(folder / "audio", "wb") as audio_file, open(folder / "frames", "wb") as frame_file:
            for _, audio, jpegs in clips:
                audio_file.write(audio.astype("<i2").tobytes())
                frame_file.writelines(jpegs)
        (folder / "shape").write_text(f"{len(audio)} {len(jpegs)} {len(jpegs[0])}")

    def __init__(self, folder: Path):
        samples, frames, frame_bytes = map(int, (folder / "shape").read_text().split())
        self.audio = np.asarray(np.memmap(folder / "audio", "<i2", "r")).reshape(-1, samples)
        self.frames = np.asarray(np.memmap(folder / "frames", np.uint8, "r")).reshape(-1, frames, frame_bytes)

    def read(self, index: int) -> tuple[np.ndarray, list[bytes]]:
        return to_float(self.audio[index]), [frame.tobytes() for frame in self.frames[index]]


class Parquet:
    """Row groups of as many clips as this project's record batches, uncompressed, with open files."""

    name = "Parquet"
    schema = pa.schema([("clip_id", pa.string()), ("audio", pa.binary()), ("frames", pa.list_(pa.binary()))])
    clips_per_group = CLIPS_PER_BATCH

    @classmethod
    def write(cls, folder: Path, clips: Iterable[Payload]) -> None:
        folder.mkdir()
        for number, rows in enumerate(batched_rows(clips, CLIPS_PER_SHARD)):
            table = pa.table(list(map(list, zip(*rows, strict=True))), schema=cls.schema)
            pq.write_table(
                table, folder / f"{number:05d}.parquet", row_group_size=cls.clips_per_group, compression="none"
            )

    def __init__(self, folder: Path):
        self.files = [pq.ParquetFile(path, memory_map=True) for path in sorted(folder.iterdir())]

    def read(self, index: int) -> tuple[np.ndarray, list[bytes]]:
        group = self.files[index // CLIPS_PER_SHARD].read_row_group(
            index % CLIPS_PER_SHARD // self.clips_per_group, ["audio", "frames"]
        )
        row = index % self.clips_per_group
        return to_float(group["audio"][row].as_py()), group["frames"][row].as_py()


class SingleClipParquet(Parquet):
    """Row groups of one clip."""

    name, clips_per_group = "Parquet, one clip per row group", 1


class Tar:
    """WebDataset's shards, written by the package; read in random order through an index of the members' offsets."""

    name = "WebDataset (tar) with an index"

    @staticmethod
    def write(folder: Path, clips: Iterable[Payload]) -> None:
        import webdataset

        folder.mkdir()
        with webdataset.ShardWriter(f"{folder}/%05d.tar", maxcount=CLIPS_PER_SHARD, maxsize=1e12, verbose=0) as writer:
            for name, audio, jpegs in clips:
                frames = {f"{n:02d}.jpg": data for n, data in enumerate(jpegs)}
                writer.write({"__key__": name, "s16": audio.astype("<i2").tobytes(), **frames})

    def __init__(self, folder: Path):
        self.locations: list[tuple[int, list[tuple[int, int]]]] = []
        self.files = []
        for path in sorted(folder.iterdir()):
            previous_key = None
            with tarfile.open(path) as tar:
                for member in tar:
                    key = member.name.split(".")[0]
                    if key != previous_key:
                        self.locations.append((len(self.files), []))
                        previous_key = key
                    self.locations[-1][1].append((member.name, member.offset_data, member.size))
            self.files.append(os.open(path, os.O_RDONLY))

    def read(self, index: int) -> tuple[np.ndarray, list[bytes]]:
        file, members = self.locations[index]
        contents = {name: os.pread(self.files[file], size, offset) for name, offset, size in members}
        audio = next(data for name, data in contents.items() if name.endswith(".s16"))
        return to_float(audio), [contents[name] for name in sorted(contents) if name.endswith(".jpg")]


class Lance:
    """A Lance dataset with the same columns."""

    name = "Lance"

    @staticmethod
    def write(folder: Path, clips: Iterable[Payload]) -> None:
        import lance

        batches = (
            pa.record_batch(list(map(list, zip(*rows, strict=True))), schema=Parquet.schema)
            for rows in batched_rows(clips, CLIPS_PER_BATCH)
        )
        lance.write_dataset(pa.RecordBatchReader.from_batches(Parquet.schema, batches), str(folder),
                            max_rows_per_file=CLIPS_PER_SHARD)  # fmt: skip

    def __init__(self, folder: Path):
        import lance

        self.dataset = lance.dataset(str(folder))

    def read(self, index: int) -> tuple[np.ndarray, list[bytes]]:
        row = self.dataset.take([index], columns=["audio", "frames"])
        return to_float(row["audio"][0].as_py()), row["frames"][0].as_py()


def batched_rows(clips: Iterable[Payload], size: int) -> Iterable[list[tuple]]:
    """Yield lists of `size` rows."""
    rows = []
    for name, audio, jpegs in clips:
        rows.append((name, audio.astype("<i2").tobytes(), jpegs))
        if len(rows) == size:
            yield rows
            rows = []
    if rows:
        yield rows


def get_installed_formats() -> list[type]:
    """Return the formats whose packages are installed; print the others."""
    installed = [ClipStore, UncheckedClipStore, Parquet, SingleClipParquet]
    for name, kind in (("webdataset", Tar), ("lance", Lance)):
        try:
            __import__(name)
            installed.append(kind)
        except ImportError:
            print(f"{kind.name} is not installed: pip install -e .[bench]")
    return installed
