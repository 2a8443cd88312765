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

from synesthesia.synthetic.audio import draw_beats, synthesize
from synesthesia.synthetic.audio.synth import noise
from synesthesia.synthetic.images import Scene
from synesthesia.synthetic.labels import MAIN_CLASSES

CLIP_SECONDS, SAMPLE_RATE = 10.0, 16000
FRAME_SIZES = (
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
FRAME_SIZE_PROBS = (0.3, 0.18, 0.12, 0.12, 0.09, 0.05, 0.05, 0.04, 0.025, 0.025)
FRAME_RATES = tuple(map(Fraction, (5, 6, 8, 10, 12, 15, 24, 25, "30000/1001")))
FRAME_RATE_PROBS = (0.18, 0.22, 0.26, 0.18, 0.06, 0.04, 0.02, 0.02, 0.02)
SAMPLE_RATES, SAMPLE_RATE_PROBS = (16000, 22050, 32000, 44100, 48000), (0.68, 0.16, 0.1, 0.04, 0.02)
AUDIO_BIT_RATES = {16000: 24000, 22050: 28000, 32000: 32000, 44100: 48000, 48000: 48000}


@dataclass(frozen=True)
class ClipRecipe:
    """What a clip is made of. Times in seconds, `size` (width, height) in pixels, levels in dB below the main sound."""

    clip_id: str
    class_name: str
    seed: int
    frame_size: tuple[int, int]
    fps: Fraction
    animation_fps: float  # moments drawn a second; frames repeat when this is below fps
    sample_rate: int
    channels: int
    n_keyframes: int  # key frames
    pan: float  # -1..1, stereo files only
    snr_db: float  # dB below the sound
    noise_tilt: float  # the noise's tilt: 0 white, 2 brown
    lowpass: float  # 0..1, how dull the microphone is
    brightness: tuple[float, float]  # brightness at the start and at the end, 1 = as drawn
    second_class: str | None = None  # another kind that takes over (AudioSet-like clips), with `cut` the moment it does
    cut_time: float = CLIP_SECONDS
    background_class: str | None = None  # a kind heard off screen, `intruder_level` dB below the sound
    background_snr_db: float = 0.0
    occlusion: tuple[float, float, float, float] | None = None  # from, to (s), left edge, width (shares of the frame)
    off_screen: tuple[float, float, float] | None = (
        None  # from, to (s), and by how many frame widths the subject is out
    )


def clip_rng(seed: int, clip_id: str, purpose: str) -> np.random.Generator:
    """The clip's own random numbers for one part of its making (recipe, sound, picture, ...)."""
    digest = hashlib.sha256(f"{seed}|{clip_id}|{purpose}".encode()).digest()
    return np.random.default_rng(np.random.SeedSequence(np.frombuffer(digest, np.uint32).tolist()))


def draw_recipe(clip_id: str, class_name: str, seed: int = 0, second_class: str | None = None) -> ClipRecipe:
    """Draw the recipe of a clip; `clip_id` is `<video id>_<start, six digits>`, `second` a kind that takes over."""
    rng = clip_rng(seed, clip_id, "recipe")
    fps = FRAME_RATES[rng.choice(len(FRAME_RATES), p=FRAME_RATE_PROBS)]
    rate = int(rng.choice(SAMPLE_RATES, p=SAMPLE_RATE_PROBS))
    light = float(rng.uniform(0.75, 1.15))
    drawn = float(min(fps, rng.uniform(4, 7))) if fps < 20 else float(rng.uniform(8, 10))
    chance, start = rng.random(4), float(rng.uniform(0, 7))
    intruder = str(rng.choice([k.name for k in MAIN_CLASSES if k.name not in (class_name, second_class)]))
    level, edge, side = float(rng.uniform(10, 18)), float(rng.uniform(0.0, 0.6)), float(rng.choice([-1.2, 1.2]))
    return ClipRecipe(
        clip_id, class_name, seed,
        frame_size=FRAME_SIZES[rng.choice(len(FRAME_SIZES), p=FRAME_SIZE_PROBS)],
        fps=fps, animation_fps=drawn, sample_rate=rate,
        channels=2 if rng.random() < (0.12 if rate < 44100 else 0.5) else 1,
        n_keyframes=int(rng.integers(2, 7)), pan=float(rng.uniform(-0.6, 0.6)),
        snr_db=float(rng.uniform(7, 30)), noise_tilt=float(rng.uniform(0, 2)), lowpass=float(rng.uniform(0, 0.5)),
        brightness=(light, light * float(rng.uniform(0.6, 1.4)) if chance[3] < 0.08 else light),
        second_class=second_class, cut_time=float(rng.uniform(4, 6.5)) if second_class else CLIP_SECONDS,
        background_class=intruder if chance[0] < 0.08 else None, background_snr_db=level,
        occlusion=(start, start + 5, edge, 0.35) if chance[1] < 0.05 else None,
        off_screen=(start, start + 2.5, side) if chance[2] < 0.04 else None,
    )  # fmt: skip


def _class_names(clip: ClipRecipe) -> list[str]:
    return [clip.class_name] + ([clip.second_class] if clip.second_class else [])


def _clip_beats(clip: ClipRecipe, class_name: str) -> np.ndarray:
    return draw_beats(class_name, clip_rng(clip.seed, clip.clip_id, f"beats {class_name}"), CLIP_SECONDS)


def render_audio(clip: ClipRecipe) -> np.ndarray:
    """The clip's sound at 16 kHz with its disturbances: float32 (160000,) in [-1, 1]."""
    n = int(CLIP_SECONDS * SAMPLE_RATE)
    parts = [
        synthesize(k, clip_rng(clip.seed, clip.clip_id, f"sound {k}"), CLIP_SECONDS, SAMPLE_RATE, _clip_beats(clip, k))
        for k in _class_names(clip)
    ]
    x = parts[0]
    if clip.second_class:
        fade = np.clip((np.arange(n) / SAMPLE_RATE - clip.cut_time) / 0.1 + 0.5, 0, 1).astype(np.float32)
        x = x * (1 - fade) + parts[1] * fade
    rng = clip_rng(clip.seed, clip.clip_id, "disturbances")
    loud = float(np.sqrt(np.mean(x**2))) + 1e-6
    if clip.background_class:
        other = synthesize(clip.background_class, rng, CLIP_SECONDS, SAMPLE_RATE)
        x = x + other * (loud / float(other.std() + 1e-6) * 10 ** (-clip.background_snr_db / 20))
    x = x + noise(rng, n, SAMPLE_RATE, 30, 7800, clip.noise_tilt) * (loud * 10 ** (-clip.snr_db / 20))
    x = lfilter([1 - clip.lowpass], [1, -clip.lowpass], x)
    return (x * min(1.0, 0.98 / (np.abs(x).max() + 1e-9))).astype(np.float32)


@lru_cache(maxsize=256)
def _brightness_table(percent: int) -> bytes:
    return bytes(min(255, v * percent // 100) for v in range(256))


class _FrameRenderer:
    """Draws the moments of a clip, disturbances included."""

    def __init__(self, clip: ClipRecipe):
        self.clip = clip
        self.scenes = [
            Scene(clip_rng(clip.seed, clip.clip_id, f"picture {k}"), k, clip.frame_size, _clip_beats(clip, k))
            for k in _class_names(clip)
        ]
        grey = clip_rng(clip.seed, clip.clip_id, "cover").integers(20, 110, 3)
        self.occluder_color = tuple(int(c) for c in grey)

    def snap_time(self, t: float) -> float:
        """The moment that the frame shown at time t was drawn for."""
        shown = np.floor(t * float(self.clip.fps) + 1e-6) / float(self.clip.fps)
        return float(np.floor(shown * self.clip.animation_fps + 1e-6) / self.clip.animation_fps)

    def render(self, t: float) -> np.ndarray:
        """The moment t as uint8 (H, W, 3)."""
        clip = self.clip
        out = clip.off_screen is not None and clip.off_screen[0] <= t < clip.off_screen[1]
        picture = self.scenes[int(t >= clip.cut_time)].render_image(t, clip.off_screen[2] if out else 0.0)
        if clip.occlusion and clip.occlusion[0] <= t < clip.occlusion[1]:
            w, h = clip.frame_size
            left, wide = w * clip.occlusion[2] + 0.02 * w * np.sin(2 * t), w * clip.occlusion[3]
            draw = ImageDraw.Draw(picture)
            draw.ellipse((left + wide * 0.25, h * 0.08, left + wide * 0.75, h * 0.45), fill=self.occluder_color)
            draw.rectangle((left, h * 0.42, left + wide, h), fill=self.occluder_color)
        gain = clip.brightness[0] + (clip.brightness[1] - clip.brightness[0]) * t / CLIP_SECONDS
        dots = picture.tobytes().translate(_brightness_table(round(gain * 100)))
        return np.frombuffer(dots, np.uint8).reshape(clip.frame_size[1], clip.frame_size[0], 3)


def render_frames(clip: ClipRecipe) -> list[np.ndarray]:
    """All frames of the clip in order, uint8 (H, W, 3); a frame that repeats the one before is the same object."""
    camera, out, last = _FrameRenderer(clip), [], None
    for k in range(int(np.ceil(CLIP_SECONDS * clip.fps))):
        t = camera.snap_time(k / float(clip.fps) + 1e-6)
        if not out or t != last:
            out.append(camera.render(t))
            last = t
        else:
            out.append(out[-1])
    return out


def _to_file_audio(clip: ClipRecipe, samples: np.ndarray) -> np.ndarray:
    """The 16 kHz sound at the file's rate and channels: float32 (channels, n); their mean is the mono sound."""
    if clip.sample_rate != SAMPLE_RATE:
        ratio = Fraction(clip.sample_rate, SAMPLE_RATE)
        samples = resample_poly(samples, ratio.numerator, ratio.denominator).astype(np.float32)
    samples = samples[None, : int(CLIP_SECONDS * clip.sample_rate)]
    return (
        samples
        if clip.channels == 1
        else np.concatenate([samples * (1 - clip.pan), samples * (1 + clip.pan)]).clip(-1, 1)
    )


def render_clip(clip: ClipRecipe) -> tuple[np.ndarray, int, list[np.ndarray], Fraction]:
    """The clip before encoding: sound float32 (channels, n), its rate, frames uint8 (H, W, 3), frames a second."""
    return _to_file_audio(clip, render_audio(clip)), clip.sample_rate, render_frames(clip), clip.fps


def render_model_inputs(clip: ClipRecipe) -> tuple[np.ndarray, np.ndarray]:
    """What a model meets, without the codec: 16 kHz mono (160000,); frames at 0.5, 1.5, ... 9.5 s (10, H, W, 3)."""
    camera = _FrameRenderer(clip)
    shots = [camera.render(camera.snap_time(k + 0.5)) for k in range(int(CLIP_SECONDS))]
    return render_audio(clip), np.stack(shots)


def encode_mp4(clip: ClipRecipe, seconds: float = CLIP_SECONDS, streams: str = "av") -> bytes:
    """The clip as an MP4 file (H.264 and AAC), byte for byte the same each time; `streams`: "av", "a" or "v"."""
    target = io.BytesIO()
    packets = []
    with av.open(target, "w", format="mp4") as out:
        if "v" in streams:
            options = {"preset": "ultrafast", "crf": "30", "x264-params": "threads=1:scenecut=0"}
            video = out.add_stream("libx264", rate=clip.fps, options=options)
            video.width, video.height, video.pix_fmt = *clip.frame_size, "yuv420p"
            video.codec_context.thread_count = 1
            video.codec_context.gop_size = max(2, int(np.ceil(CLIP_SECONDS * clip.fps / clip.n_keyframes)))
            seen, shot, planes = None, None, VideoReformatter()
            for k, picture in enumerate(render_frames(clip)[: int(np.ceil(seconds * clip.fps))]):
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
            audio = out.add_stream("aac", rate=clip.sample_rate, options={"aac_coder": "fast"})
            audio.layout = "mono" if clip.channels == 1 else "stereo"
            audio.bit_rate = AUDIO_BIT_RATES[clip.sample_rate] * (1 + clip.channels) // 2
            x = np.ascontiguousarray(_to_file_audio(clip, render_audio(clip))[:, : int(seconds * clip.sample_rate)])
            block = av.AudioFrame.from_ndarray(x, format="fltp", layout=audio.layout.name)
            block.sample_rate, block.pts = clip.sample_rate, 0
            packets += audio.encode(block)
            packets += audio.encode(None)
        for packet in sorted(packets, key=lambda p: (float(p.dts * p.time_base), p.stream.index)):
            out.mux(packet)
    return target.getvalue()
