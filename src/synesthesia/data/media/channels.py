"""Audio of any channel layout as samples that libswresample can mix to mono.

libav lists channels in a fixed order ("5.1" is FL FR FC LFE BL BR). Files may list them in another (QuickTime), name
none (discrete channels), or hold a sound field (ambisonics). PyAV has two faults there, both in memory that is not its
own: it frees the list of a custom order twice, and reads past the planes of eight or more channels. Nothing outside of
this module touches a layout or the planes of a frame.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from functools import cache
from typing import Any, cast

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.audio.layout import AudioLayout
from av.audio.plane import AudioPlane

# The bits of libavutil's channel masks (channel_layout.h)
_FIRST_CHANNELS = "FL FR FC LFE BL BR FLC FRC BC SL SR TC TFL TFC TFR TBL TBC TBR"  # bits 0 to 17
_LATER_CHANNELS = "DL DR WL WR SDL SDR LFE2 TSL TSR BFC BFL BFR"  # bits 29 to 40
_CHANNEL_BITS = {name: bit for bit, name in enumerate(_FIRST_CHANNELS.split())}
_CHANNEL_BITS |= {name: bit for bit, name in enumerate(_LATER_CHANNELS.split(), 29)}
_ORDERS_WITHOUT_LIST = (0, 1, 3)  # enum AVChannelOrder: unspecified, native, ambisonic; 2 is custom
_LAYOUT_NAME = re.compile(r"[0-9a-z.()-]+")  # "5.1(side)", but not "6 channels (FL+FR+SL+SR+FC+LFE)"
_DTYPES = {"u8": "u1", "s16": "i2", "s32": "i4", "s64": "i8", "flt": "f4", "dbl": "f8"}  # without "p", for planar
_MAX_PYAV_PLANES = 7


def layout_of(owner: AudioFrame | AudioCodecContext) -> AudioLayout:
    """Return the layout of a frame or decoder, safe to use and to drop.

    Args:
        owner: A decoded frame, at once after it was decoded, or a decoder.

    Returns:
        The layout.
    """
    layout = owner.layout
    order, num_channels = (ctypes.c_int * 2).from_address(id(layout) + object.__basicsize__)
    if order not in _ORDERS_WITHOUT_LIST or num_channels != layout.nb_channels:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(layout))  # never deallocated: the owner frees the list
    return layout


def read_samples(frame: AudioFrame) -> np.ndarray:
    """Return the samples of a frame as PyAV's `to_ndarray`, for every format and number of channels.

    Args:
        frame: A decoded frame.

    Returns:
        (channels, samples) if the format is planar, else (1, samples * channels).
    """
    num_channels, name = frame.layout.nb_channels, frame.format.name
    count, num_planes = (frame.samples, num_channels) if frame.format.is_planar else (frame.samples * num_channels, 1)
    dtype = np.dtype(_DTYPES[name.removesuffix("p")])
    return np.stack([np.frombuffer(cast(Any, AudioPlane(frame, n)), dtype, count) for n in range(num_planes)])


def iter_mixable_forms(
    samples: np.ndarray, sample_format: str, layout: str, names: tuple[str, ...]
) -> Iterator[tuple[np.ndarray, str, str]]:
    """Bring samples into forms that libswresample may be able to mix to mono.

    Args:
        samples: What `read_samples` returns, of one or several frames.
        sample_format: libav's name of their format.
        layout: libav's name of their layout.
        names: libav's name of each channel.

    Yields:
        Samples, format, and layout of each form, the best first: the channels in libav's order, then their mean, which
        is always mixable. Of ambisonics, the omnidirectional channel takes the place of the mean of the others.
    """
    is_planar = sample_format.endswith("p")
    if sample_format.startswith("s64"):  # PyAV cannot pass it on
        samples, sample_format = samples / 2.0**63, "dblp" if is_planar else "dbl"
    mask_layout, order = _find_mask_layout(layout, names)
    if mask_layout:
        yield _reorder(samples, sample_format, mask_layout, order)
    if len(names) > 1:
        yield _mix(samples, sample_format, names), "fltp", "mono"


@cache
def _find_mask_layout(layout: str, names: tuple[str, ...]) -> tuple[str | None, tuple[int, ...] | None]:
    """Return a name of the channels in libav's order, None if they have none, and their indices, None if in order."""
    if len(names) == 1:
        return "mono", None
    if layout == f"{len(names)} channels":  # unspecified: ffmpeg assumes the most usual layout of so many channels
        default = _describe(f"{len(names)}c")
        return (default if default and _LAYOUT_NAME.fullmatch(default) else None), None
    if len(set(names)) < len(names) or not set(names) <= _CHANNEL_BITS.keys():
        return None, None
    bits = [_CHANNEL_BITS[name] for name in names]
    order = tuple(int(index) for index in np.argsort(bits))
    is_sorted = order == tuple(range(len(names)))
    if is_sorted and _LAYOUT_NAME.fullmatch(layout):
        return layout, None
    mask = hex(sum(1 << bit for bit in bits))
    return (mask if _describe(mask) else None), None if is_sorted else order


def _describe(layout: str) -> str | None:
    try:
        return av.AudioLayout(layout).name
    except ValueError:
        return None


def _reorder(
    samples: np.ndarray, sample_format: str, layout: str, order: tuple[int, ...] | None
) -> tuple[np.ndarray, str, str]:
    is_planar = sample_format.endswith("p")
    num_channels = av.AudioLayout(layout).nb_channels
    if order is None and (not is_planar or num_channels <= _MAX_PYAV_PLANES):
        return samples, sample_format, layout
    channels = samples if is_planar else samples.reshape(-1, num_channels).T
    if order is not None:
        channels = channels[list(order)]
    packed = np.ascontiguousarray(channels.T).reshape(1, -1)
    return packed, sample_format.removesuffix("p"), layout


def _mix(samples: np.ndarray, sample_format: str, names: tuple[str, ...]) -> np.ndarray:
    """Return float32 (1, samples) in [-1, 1]: the mean of the channels."""
    channels = samples if sample_format.endswith("p") else samples.reshape(-1, len(names)).T
    if channels.dtype == np.uint8:
        channels = (channels - 128.0) / 128
    elif channels.dtype.kind == "i":
        channels = channels / -float(np.iinfo(channels.dtype).min)
    used = [index for index, name in enumerate(names) if name != "UNSD"] or list(range(len(names)))
    if "AMBI0" in names:
        others = [index for index in used if not names[index].startswith("AMBI")]
        mono = channels[names.index("AMBI0")]
        mono = (mono + channels[others].mean(0)) / 2 if others else mono
    else:
        mono = channels[used].mean(0)
    return np.ascontiguousarray(mono, np.float32)[None]
