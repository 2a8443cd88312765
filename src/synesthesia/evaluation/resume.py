"""Unfinished work, kept outside the outputs of every stage under a name that says what it belongs to.

The name is a hash of all that decides the result: values, files, the code that asks and answers, the libraries that
compute, and the kind of device. Work of another state is never continued.
"""

from __future__ import annotations

import functools
import importlib.metadata
import json
import os
from pathlib import Path

from synesthesia.utils import distributed, hashing, io

CACHE_DIR = Path("out/.partial")
SOURCE_DIR = Path(__file__).parents[1]
DECIDING_CODE = (
    "acceleration",
    "data/clip_batches.py",
    "data/clip_inputs.py",
    "data/store",
    "distillation",
    "evaluation",
    "models",
    "questions",
    "schemas.py",
    "utils/device.py",
    "utils/wav.py",
)
DECIDING_LIBRARIES = ("torch", "torchvision", "transformers", "peft", "numpy")


def fingerprint(*parts: object) -> str:
    """Hash all that determines a result, as the name of the folder from which interrupted work resumes.

    Args:
        parts: Values for JSON; a `Path` counts by the content of its file or folder, if there is one. Code, libraries,
            and the kind of device are added.

    Returns:
        20 hexadecimal digits.
    """
    values = [hash_once(p) if isinstance(p, Path) and p.exists() else p for p in parts]
    return hashing.hash_json([code_fingerprint(), _device_kind(), *values])[:20]


def code_fingerprint() -> str:
    """Hash the code that decides answers, and the versions of the libraries that compute them.

    Returns:
        SHA-256 in hexadecimal.
    """
    files = [path for name in DECIDING_CODE for path in hashing.list_files(SOURCE_DIR / name) if path.suffix == ".py"]
    code = {str(path.relative_to(SOURCE_DIR)): hashing.hash_file(path) for path in files}
    return hashing.hash_json([code, {name: importlib.metadata.version(name) for name in DECIDING_LIBRARIES}])


def hash_once(path: Path) -> str:
    """Hash a file or folder, or look its hash up if none of its files has changed since.

    Checkpoints have tens of gigabytes, and every split of every stage, in every process, asks for their hash.

    Args:
        path: File or folder. Hidden files and folders, such as the hub's `.cache`, do not count.

    Returns:
        SHA-256 in hexadecimal of names and contents.
    """
    files = _visible_files(path)
    state = hashing.hash_json([[str(file.relative_to(path)), *_file_state(file)] for file in files])
    cache_file, key = CACHE_DIR / "hashes.json", str(path.resolve())
    CACHE_DIR.mkdir(parents=True, exist_ok=True)
    with io.FileLock(CACHE_DIR / "hashes.lock"):  # processes of one stage wait for the first one's result
        cache = _read_cache(cache_file)
        if cache.get(key, {}).get("state") != state:
            cache[key] = {"state": state, "hash": _hash_files(path, files)}
            io.write_atomic(cache_file, json.dumps(cache))
        return cache[key]["hash"]


def _hash_files(path: Path, files: list[Path]) -> str:
    return hashing.combine_hashes((file.relative_to(path), hashing.hash_file(file)) for file in files)


def _visible_files(path: Path) -> list[Path]:
    return [f for f in hashing.list_files(path) if not any(p.startswith(".") for p in f.relative_to(path).parts)]


def _file_state(file: Path) -> tuple[int, ...]:
    status = os.stat(file)
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def _read_cache(file: Path) -> dict[str, dict[str, str]]:
    try:
        cache = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return cache if isinstance(cache, dict) else {}


@functools.cache
def _device_kind() -> str:
    """Return the kind of device without importing torch, which endpoints do not need: a GPU rounds differently."""
    return os.environ.get("SYNESTHESIA_DEVICE") or ("gpu" if distributed.has_gpu_device() else "cpu")
