"""The clip store against other formats: write, open, bytes a clip, random access; and whether growth slows reading.

Clips are what curate keeps at the paper's size: 160,000 samples and ten JPEGs, decoded from H.264 clips that pan over
scikit-learn's two photographs (no VGGSound clip can ship with the project). Every format gives the same bytes back,
which is checked before anything is timed; all files are in the page cache, so formats are compared and not disks.
Lance and WebDataset are measured where they are installed (`pip install -e .[bench]`).

    python benchmarks/store.py                                the formats, 256 clips
    python benchmarks/store.py --growth                       1,000 to 200,000 small clips, some minutes
    python benchmarks/store.py --growth --chart docs/store.png
"""

from __future__ import annotations

import argparse
import io
import os
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from synesthesia import media
from synesthesia.store import BATCH, Store, StoreWriter

Payload = tuple[str, np.ndarray, list[bytes]]
SETTINGS = {"rate": 16000, "seconds": 10.0, "shortest_seconds": 8.0, "frames_per_second": 1.0, "jpeg_quality": 92}
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


def clips_of_the_papers_size() -> list[media.Clip]:
    """Four clips as curate would keep them, of 360 and 720 lines."""
    from sklearn.datasets import load_sample_images

    photos = load_sample_images().images
    with tempfile.TemporaryDirectory() as folder:
        made = []
        for number, size in enumerate([(640, 360), (640, 360), (1280, 720), (1280, 720)]):
            path = Path(folder, f"{number}.mp4")
            filmed(path, photos[number % 2], size, number)
            made.append(media.decode(path, **SETTINGS, largest_pixels=262144))
    return made


def large(count: int) -> Iterable[Payload]:
    """Clips of the paper's size; no two have the same sound or the same bytes of a picture."""
    made = clips_of_the_papers_size()
    for n in range(count):
        clip = made[n % len(made)]
        yield f"{n:011d}_000010", np.roll(clip.audio, 97 * n), [data + f"{n:08d}".encode() for data in clip.jpegs]


def small(count: int) -> Iterable[Payload]:
    """Clips of 2 KB."""
    rng = np.random.default_rng(0)
    for n in range(count):
        yield f"{n:011d}_000010", rng.integers(-9, 9, 500, np.int16), [rng.bytes(1000)]


class Ours:
    """This project's store; `checked` compares each clip's CRC-32."""

    name, checked = "synesthesia (Arrow, CRC-32)", True

    @staticmethod
    def write(folder: Path, clips: Iterable[Payload]) -> None:
        with StoreWriter(folder, SHARD) as writer:
            for clip in clips:
                writer.add(*clip)

    def __init__(self, folder: Path):
        self.store = Store(folder, checked=self.checked)

    def read(self, index: int) -> tuple[np.ndarray, list[bytes]]:
        place = index // SHARD, index % SHARD
        return self.store.audio(*place), self.store.jpegs(*place)


class Unchecked(Ours):
    name, checked = "the same, unchecked", False


def floats(sound: bytes) -> np.ndarray:
    return np.multiply(np.frombuffer(sound, "<i2"), np.float32(2**-15), dtype=np.float32)


class Parquet:
    """Row groups of as many clips as our record batches have, not compressed, files kept open."""

    name = "Parquet"
    schema = pa.schema([("clip_id", pa.string()), ("audio", pa.binary()), ("frames", pa.list_(pa.binary()))])
    group = BATCH

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
            for rows in pieces(clips, BATCH)
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


def rates(reads: list[Callable[[int], object]], orders: list[np.ndarray], rounds: int = 5) -> list[float]:
    """Random clips a second of processor time for each reader: the best of several turns of a third of a second."""
    best, done = [0.0] * len(reads), [0] * len(reads)
    for _ in range(rounds):
        for n, (read, order) in enumerate(zip(reads, orders, strict=True)):
            count, begin = 0, time.process_time()
            while time.process_time() - begin < 0.3:
                for index in order[(done[n] + count) % len(order) :][:50]:
                    read(int(index))
                    count += 1
            best[n] = max(best[n], count / (time.process_time() - begin))
            done[n] += count
    return best


def compare(count: int, scratch: Path) -> None:
    """The table of the formats."""
    clips = list(large(count))
    frame = [len(data) for _, _, jpegs in clips[:4] for data in jpegs]
    print(
        f"{count} clips of 160,000 samples and ten JPEGs of {min(frame):,} to {max(frame):,} bytes, page cache warm\n"
    )
    print("| format | bytes a clip | write, clips/s | open, ms | random access, clips/s | against ours |")
    print("|---|---|---|---|---|---|")
    order = np.random.default_rng(0).permutation(count)
    measured, readers = [], []
    for kind in formats():
        folder = scratch / kind.__name__
        begin = time.perf_counter()
        kind.write(folder, clips)
        wrote = count / (time.perf_counter() - begin)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / count
        begin = time.perf_counter()
        opened = kind(folder)
        measured.append((kind.name, size, wrote, 1000 * (time.perf_counter() - begin)))
        readers.append(opened.read)
        for index in order:  # and so every page is in the cache
            sound, jpegs = opened.read(int(index))
            assert (sound * 32768 == clips[index][1]).all() and jpegs == clips[index][2], kind.name
    found = rates(readers, [order] * len(readers))
    for (name, size, wrote, opening), value in zip(measured, found, strict=True):
        print(f"| {name} | {size:,.0f} | {wrote:,.0f} | {opening:.1f} | {value:,.0f} | x {value / found[0]:.2f} |")
    decoded = Store(scratch / Ours.__name__)
    (pictures,) = rates([lambda index: decoded.frames(index // SHARD, index % SHARD)], [order], 3)
    print(f"\nFor scale: one process decodes the ten JPEGs of {pictures:,.0f} clips a second.")


def growth(sizes: list[int], scratch: Path, chart: Path | None) -> None:
    """Random access as the store grows, clips of 2 KB: what is left is each format's own work for a clip."""
    rows: dict[str, list[float]] = {}
    print("| clips | " + " | ".join(f"{n:,}" for n in sizes) + " | last / first |")
    print("|---" * (len(sizes) + 2) + "|")
    for kind in formats():
        readers = []
        for size in sizes:
            folder = scratch / f"{kind.__name__}-{size}"
            kind.write(folder, small(size))
            readers.append(kind(folder).read)
        orders = [np.random.default_rng(size).permutation(size) for size in sizes]
        rows[kind.name] = rates(readers, orders)
        cells = " | ".join(f"{value:,.0f}" for value in rows[kind.name])
        print(f"| {kind.name} | {cells} | {rows[kind.name][-1] / rows[kind.name][0]:.2f} |", flush=True)
    if chart:
        draw(sizes, rows, chart)
        print(f"\ndrawn: {chart}")


def draw(sizes: list[int], rows: dict[str, list[float]], path: Path) -> None:
    """Rate, from zero, against size."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.subplots()
    for name, rates in rows.items():
        ours = name == Ours.name
        (line,) = axes.plot(sizes, rates, marker="o", linewidth=2.5 if ours else 1.2, color="tab:red" if ours else None)
        axes.annotate(f" {name}", (sizes[-1], rates[-1]), fontsize=8, va="center", color=line.get_color())
    axes.set(xscale="log", xlabel="clips in the store", ylabel="random clips of 2 KB a processor second")
    axes.set_ylim(0, None)
    axes.set_xlim(sizes[0] * 0.8, sizes[-1] * 30)
    axes.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=110, metadata={"Software": None})
    path.write_bytes(buffer.getvalue())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=256, help="for the comparison (default: 256, 0.2 GB a format)")
    parser.add_argument("--growth", action="store_true", help="measure stores of growing size instead")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 5000, 20000, 50000, 200000])
    parser.add_argument("--chart", type=Path, help="where to draw the growth")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        if given.growth or given.chart:
            growth(given.sizes, Path(scratch), given.chart)
        else:
            compare(given.clips, Path(scratch))


if __name__ == "__main__":
    main()
