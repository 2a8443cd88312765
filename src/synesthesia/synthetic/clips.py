"""One clip of the embedded world: its recipe, its sound and frames, and the MP4 file made of them.

Everything about a clip follows from the world's seed, the clip's id and its kind alone; no other clip plays a part, so
adding or losing one changes no other. The sound is synthesised at 16 kHz (what every model hears) and resampled to the
file's rate; frames are drawn at a few moments a second and repeated up to the file's frame rate.
"""

import hashlib
import io
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from PIL import ImageDraw
from scipy.signal import lfilter, resample_poly

from synesthesia.synthetic.audio import beats_of, sound
from synesthesia.synthetic.audio.synth import hiss
from synesthesia.synthetic.images import Scene
from synesthesia.synthetic.labels import MAIN

SECONDS, RATE = 10.0, 16000
SIZES = (
    (160, 120),
    (128, 96),
    (176, 144),
    (160, 90),
    (192, 144),
    (240, 180),
    (90, 160),
    (120, 160),
    (320, 240),
    (208, 118),
)
SIZE_SHARES = (0.3, 0.18, 0.12, 0.12, 0.09, 0.05, 0.05, 0.04, 0.025, 0.025)
FPS = tuple(map(Fraction, (5, 6, 8, 10, 12, 15, 24, 25, "30000/1001")))
FPS_SHARES = (0.18, 0.22, 0.26, 0.18, 0.06, 0.04, 0.02, 0.02, 0.02)
RATES, RATE_SHARES = (16000, 22050, 32000, 44100, 48000), (0.68, 0.16, 0.1, 0.04, 0.02)
BIT_RATE = {16000: 24000, 22050: 28000, 32000: 32000, 44100: 48000, 48000: 48000}


@dataclass(frozen=True)
class ClipRecipe:
    """What a clip is made of. Times in seconds, `size` (width, height) in pixels, levels in dB below the main sound."""

    clip_id: str
    kind: str
    seed: int
    size: tuple[int, int]
    fps: Fraction
    drawn: float  # moments drawn a second; frames repeat when this is below fps
    rate: int
    channels: int
    keys: int  # key frames
    pan: float  # -1..1, stereo files only
    noise: float  # dB below the sound
    colour: float  # the noise's tilt: 0 white, 2 brown
    muffle: float  # 0..1, how dull the microphone is
    light: tuple[float, float]  # brightness at the start and at the end, 1 = as drawn
    second: str | None = None  # another kind that takes over (AudioSet-like clips), with `cut` the moment it does
    cut: float = SECONDS
    intruder: str | None = None  # a kind heard off screen, `intruder_level` dB below the sound
    intruder_level: float = 0.0
    cover: tuple[float, float, float, float] | None = None  # from, to (s), left edge, width (shares of the frame)
    away: tuple[float, float, float] | None = None  # from, to (s), and by how many frame widths the subject is out


def stream(seed: int, clip_id: str, part: str) -> np.random.Generator:
    """The clip's own random numbers for one part of its making (recipe, sound, picture, ...)."""
    digest = hashlib.sha256(f"{seed}|{clip_id}|{part}".encode()).digest()
    return np.random.default_rng(np.random.SeedSequence(np.frombuffer(digest, np.uint32).tolist()))


def recipe(clip_id: str, kind: str, seed: int = 0, second: str | None = None) -> ClipRecipe:
    """Draw the recipe of a clip; `clip_id` is `<video id>_<start, six digits>`, `second` a kind that takes over."""
    rng = stream(seed, clip_id, "recipe")
    fps = FPS[rng.choice(len(FPS), p=FPS_SHARES)]
    rate = int(rng.choice(RATES, p=RATE_SHARES))
    light = float(rng.uniform(0.75, 1.15))
    drawn = float(min(fps, rng.uniform(4, 7))) if fps < 20 else float(rng.uniform(8, 10))
    chance, start = rng.random(4), float(rng.uniform(0, 7))
    intruder = str(rng.choice([k.name for k in MAIN if k.name not in (kind, second)]))
    level, edge, side = float(rng.uniform(10, 18)), float(rng.uniform(0.0, 0.6)), float(rng.choice([-1.2, 1.2]))
    return ClipRecipe(
        clip_id, kind, seed,
        size=SIZES[rng.choice(len(SIZES), p=SIZE_SHARES)],
        fps=fps, drawn=drawn, rate=rate,
        channels=2 if rng.random() < (0.12 if rate < 44100 else 0.5) else 1,
        keys=int(rng.integers(2, 7)), pan=float(rng.uniform(-0.6, 0.6)),
        noise=float(rng.uniform(7, 30)), colour=float(rng.uniform(0, 2)), muffle=float(rng.uniform(0, 0.5)),
        light=(light, light * float(rng.uniform(0.6, 1.4)) if chance[3] < 0.08 else light),
        second=second, cut=float(rng.uniform(4, 6.5)) if second else SECONDS,
        intruder=intruder if chance[0] < 0.08 else None, intruder_level=level,
        cover=(start, start + 5, edge, 0.35) if chance[1] < 0.05 else None,
        away=(start, start + 2.5, side) if chance[2] < 0.04 else None,
    )  # fmt: skip


def _kinds(clip: ClipRecipe) -> list[str]:
    return [clip.kind] + ([clip.second] if clip.second else [])


def _beats(clip: ClipRecipe, kind: str) -> np.ndarray:
    return beats_of(kind, stream(clip.seed, clip.clip_id, f"beats {kind}"), SECONDS)


def mono(clip: ClipRecipe) -> np.ndarray:
    """The clip's sound at 16 kHz with its disturbances: float32 (160000,) in [-1, 1]."""
    n = int(SECONDS * RATE)
    parts = [
        sound(k, stream(clip.seed, clip.clip_id, f"sound {k}"), SECONDS, RATE, _beats(clip, k)) for k in _kinds(clip)
    ]
    x = parts[0]
    if clip.second:
        fade = np.clip((np.arange(n) / RATE - clip.cut) / 0.1 + 0.5, 0, 1).astype(np.float32)
        x = x * (1 - fade) + parts[1] * fade
    rng = stream(clip.seed, clip.clip_id, "disturbances")
    loud = float(np.sqrt(np.mean(x**2))) + 1e-6
    if clip.intruder:
        other = sound(clip.intruder, rng, SECONDS, RATE)
        x = x + other * (loud / float(other.std() + 1e-6) * 10 ** (-clip.intruder_level / 20))
    x = x + hiss(rng, n, RATE, 30, 7800, clip.colour) * (loud * 10 ** (-clip.noise / 20))
    x = lfilter([1 - clip.muffle], [1, -clip.muffle], x)
    return (x * min(1.0, 0.98 / (np.abs(x).max() + 1e-9))).astype(np.float32)


@lru_cache(maxsize=256)
def _brighter(percent: int) -> bytes:
    return bytes(min(255, v * percent // 100) for v in range(256))


class _Camera:
    """Draws the moments of a clip, disturbances included."""

    def __init__(self, clip: ClipRecipe):
        self.clip = clip
        self.scenes = [
            Scene(stream(clip.seed, clip.clip_id, f"picture {k}"), k, clip.size, _beats(clip, k)) for k in _kinds(clip)
        ]
        grey = stream(clip.seed, clip.clip_id, "cover").integers(20, 110, 3)
        self.grey = tuple(int(c) for c in grey)

    def moment(self, t: float) -> float:
        """The moment that the frame shown at time t was drawn for."""
        shown = np.floor(t * float(self.clip.fps) + 1e-6) / float(self.clip.fps)
        return float(np.floor(shown * self.clip.drawn + 1e-6) / self.clip.drawn)

    def frame(self, t: float) -> np.ndarray:
        """The moment t as uint8 (H, W, 3)."""
        clip = self.clip
        out = clip.away is not None and clip.away[0] <= t < clip.away[1]
        picture = self.scenes[int(t >= clip.cut)].image(t, clip.away[2] if out else 0.0)
        if clip.cover and clip.cover[0] <= t < clip.cover[1]:
            w, h = clip.size
            left, wide = w * clip.cover[2] + 0.02 * w * np.sin(2 * t), w * clip.cover[3]
            draw = ImageDraw.Draw(picture)
            draw.ellipse((left + wide * 0.25, h * 0.08, left + wide * 0.75, h * 0.45), fill=self.grey)
            draw.rectangle((left, h * 0.42, left + wide, h), fill=self.grey)
        gain = clip.light[0] + (clip.light[1] - clip.light[0]) * t / SECONDS
        dots = picture.tobytes().translate(_brighter(round(gain * 100)))
        return np.frombuffer(dots, np.uint8).reshape(clip.size[1], clip.size[0], 3)


def frames(clip: ClipRecipe) -> list[np.ndarray]:
    """All frames of the clip in order, uint8 (H, W, 3); a frame that repeats the one before is the same object."""
    camera, out, last = _Camera(clip), [], None
    for k in range(int(np.ceil(SECONDS * clip.fps))):
        t = camera.moment(k / float(clip.fps) + 1e-6)
        if not out or t != last:
            out.append(camera.frame(t))
            last = t
        else:
            out.append(out[-1])
    return out


def _file_sound(clip: ClipRecipe, x: np.ndarray) -> np.ndarray:
    """The 16 kHz sound at the file's rate and channels: float32 (channels, n); their mean is the mono sound."""
    if clip.rate != RATE:
        ratio = Fraction(clip.rate, RATE)
        x = resample_poly(x, ratio.numerator, ratio.denominator).astype(np.float32)
    x = x[None, : int(SECONDS * clip.rate)]
    return x if clip.channels == 1 else np.concatenate([x * (1 - clip.pan), x * (1 + clip.pan)]).clip(-1, 1)


def render(clip: ClipRecipe) -> tuple[np.ndarray, int, list[np.ndarray], Fraction]:
    """The clip before encoding: sound float32 (channels, n), its rate, frames uint8 (H, W, 3), frames a second."""
    return _file_sound(clip, mono(clip)), clip.rate, frames(clip), clip.fps


def percept(clip: ClipRecipe) -> tuple[np.ndarray, np.ndarray]:
    """What a model meets, without the codec: 16 kHz mono (160000,); frames at 0.5, 1.5, ... 9.5 s (10, H, W, 3)."""
    camera = _Camera(clip)
    shots = [camera.frame(camera.moment(k + 0.5)) for k in range(int(SECONDS))]
    return mono(clip), np.stack(shots)


def encode(clip: ClipRecipe, seconds: float = SECONDS, streams: str = "av") -> bytes:
    """The clip as an MP4 file (H.264 and AAC), byte for byte the same each time; `streams`: "av", "a" or "v"."""
    target = io.BytesIO()
    packets = []
    with av.open(target, "w", format="mp4") as out:
        if "v" in streams:
            options = {"preset": "ultrafast", "crf": "30", "x264-params": "threads=1:scenecut=0"}
            video = out.add_stream("libx264", rate=clip.fps, options=options)
            video.width, video.height, video.pix_fmt = *clip.size, "yuv420p"
            video.codec_context.thread_count = 1
            video.codec_context.gop_size = max(2, int(np.ceil(SECONDS * clip.fps / clip.keys)))
            seen, shot, planes = None, None, VideoReformatter()
            for k, picture in enumerate(frames(clip)[: int(np.ceil(seconds * clip.fps))]):
                if picture is not seen:
                    seen, shot = (
                        picture,
                        planes.reformat(
                            av.VideoFrame.from_ndarray(picture, format="rgb24"), format="yuv420p", threads=1
                        ),
                    )
                shot.pts, shot.time_base = k, 1 / clip.fps
                packets += video.encode(shot)
            packets += video.encode(None)
        if "a" in streams:
            audio = out.add_stream("aac", rate=clip.rate, options={"aac_coder": "fast"})
            audio.layout = "mono" if clip.channels == 1 else "stereo"
            audio.bit_rate = BIT_RATE[clip.rate] * (1 + clip.channels) // 2
            x = np.ascontiguousarray(_file_sound(clip, mono(clip))[:, : int(seconds * clip.rate)])
            block = av.AudioFrame.from_ndarray(x, format="fltp", layout=audio.layout.name)
            block.sample_rate, block.pts = clip.rate, 0
            packets += audio.encode(block)
            packets += audio.encode(None)
        for packet in sorted(packets, key=lambda p: (float(p.dts * p.time_base), p.stream.index)):
            out.mux(packet)
    return target.getvalue()
