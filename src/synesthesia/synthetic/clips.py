"""One synthetic clip: its recipe, its audio and frames, and its MP4 file.

A clip follows from the seed of the dataset, the clip's id and its class alone, so adding or removing a clip changes no
other. Audio is synthesized at 16 kHz (the models' rate) and resampled to the file's rate; frames are drawn a few times
per second and repeated up to the file's frame rate.
"""

import hashlib
import io
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import av
import numpy as np
from av.audio.stream import AudioStream
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
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
    """Parameters of a clip. Times are in seconds.

    Attributes:
        clip_id: `<video id>_<start, six digits>`.
        class_name: Sound class.
        seed: Seed of the dataset.
        frame_size: (width, height) in pixels.
        fps: Frame rate of the file.
        animation_fps: Distinct frames per second; frames repeat if this is below `fps`.
        sample_rate: Sample rate of the file in Hz.
        channels: 1 or 2.
        n_keyframes: Number of key frames, 2 to 6.
        pan: Stereo position, -1 to 1; stereo files only.
        snr_db: Level of the sound above the background noise in dB.
        noise_tilt: Spectral tilt of the noise: 0 white, 2 brown.
        lowpass: Coefficient of the one-pole low-pass filter, 0 to 1; larger is duller.
        brightness: Brightness at the start and at the end; 1 = as drawn.
        second_class: Sound class that replaces the first at `cut_time` (AudioSet-like clips), or None.
        cut_time: Time of the change to `second_class`.
        background_class: Sound class that is audible off screen, or None.
        background_snr_db: Level of the sound above the background class in dB.
        occlusion: From, to, left edge, width (edge and width as fractions of the frame width), or None.
        off_screen: From, to, and shift of the subject in frame widths, or None.
    """

    clip_id: str
    class_name: str
    seed: int
    frame_size: tuple[int, int]
    fps: Fraction
    animation_fps: float
    sample_rate: int
    channels: int
    n_keyframes: int
    pan: float
    snr_db: float
    noise_tilt: float
    lowpass: float
    brightness: tuple[float, float]
    second_class: str | None = None
    cut_time: float = CLIP_SECONDS
    background_class: str | None = None
    background_snr_db: float = 0.0
    occlusion: tuple[float, float, float, float] | None = None
    off_screen: tuple[float, float, float] | None = None


def clip_rng(seed: int, clip_id: str, purpose: str) -> np.random.Generator:
    """Create the random generator of a clip for one purpose.

    Args:
        seed: Seed of the dataset.
        clip_id: Clip id, or another key.
        purpose: Name of the random stream ("recipe", "cover", ...). The name is hashed: renaming it changes the data.

    Returns:
        A generator that is independent of every other clip and purpose.
    """
    digest = hashlib.sha256(f"{seed}|{clip_id}|{purpose}".encode()).digest()
    return np.random.default_rng(np.random.SeedSequence(np.frombuffer(digest, np.uint32).tolist()))


def draw_recipe(clip_id: str, class_name: str, seed: int = 0, second_class: str | None = None) -> ClipRecipe:
    """Draw the recipe of a clip.

    Args:
        clip_id: `<video id>_<start, six digits>`.
        class_name: Sound class.
        seed: Seed of the dataset.
        second_class: Sound class that replaces the first partway, or None.

    Returns:
        The recipe.
    """
    rng = clip_rng(seed, clip_id, "recipe")
    fps = FRAME_RATES[rng.choice(len(FRAME_RATES), p=FRAME_RATE_PROBS)]
    sample_rate = int(rng.choice(SAMPLE_RATES, p=SAMPLE_RATE_PROBS))
    brightness = float(rng.uniform(0.75, 1.15))
    animation_fps = float(min(fps, rng.uniform(4, 7))) if fps < 20 else float(rng.uniform(8, 10))
    # one draw per disturbance: background class, occlusion, off screen, change of brightness
    chances, start = rng.random(4), float(rng.uniform(0, 7))
    background = str(rng.choice([c.name for c in MAIN_CLASSES if c.name not in (class_name, second_class)]))
    background_snr_db = float(rng.uniform(10, 18))
    left_edge, shift = float(rng.uniform(0.0, 0.6)), float(rng.choice([-1.2, 1.2]))
    return ClipRecipe(
        clip_id, class_name, seed,
        frame_size=FRAME_SIZES[rng.choice(len(FRAME_SIZES), p=FRAME_SIZE_PROBS)],
        fps=fps, animation_fps=animation_fps, sample_rate=sample_rate,
        channels=2 if rng.random() < (0.12 if sample_rate < 44100 else 0.5) else 1,
        n_keyframes=int(rng.integers(2, 7)), pan=float(rng.uniform(-0.6, 0.6)),
        snr_db=float(rng.uniform(7, 30)), noise_tilt=float(rng.uniform(0, 2)), lowpass=float(rng.uniform(0, 0.5)),
        brightness=(brightness, brightness * float(rng.uniform(0.6, 1.4)) if chances[3] < 0.08 else brightness),
        second_class=second_class, cut_time=float(rng.uniform(4, 6.5)) if second_class else CLIP_SECONDS,
        background_class=background if chances[0] < 0.08 else None, background_snr_db=background_snr_db,
        occlusion=(start, start + 5, left_edge, 0.35) if chances[1] < 0.05 else None,
        off_screen=(start, start + 2.5, shift) if chances[2] < 0.04 else None,
    )  # fmt: skip


def _class_names(clip: ClipRecipe) -> list[str]:
    return [clip.class_name] + ([clip.second_class] if clip.second_class else [])


def _clip_beats(clip: ClipRecipe, class_name: str) -> np.ndarray:
    return draw_beats(class_name, clip_rng(clip.seed, clip.clip_id, f"beats {class_name}"), CLIP_SECONDS)


def render_audio(clip: ClipRecipe) -> np.ndarray:
    """Render a clip's audio, disturbances included.

    Args:
        clip: Recipe of the clip.

    Returns:
        Samples at 16 kHz, float32 (160000,) in [-1, 1].
    """
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
    rms = float(np.sqrt(np.mean(x**2))) + 1e-6
    if clip.background_class:
        background = synthesize(clip.background_class, rng, CLIP_SECONDS, SAMPLE_RATE)
        x = x + background * (rms / float(background.std() + 1e-6) * 10 ** (-clip.background_snr_db / 20))
    x = x + noise(rng, n, SAMPLE_RATE, 30, 7800, clip.noise_tilt) * (rms * 10 ** (-clip.snr_db / 20))
    x = np.asarray(lfilter([1 - clip.lowpass], [1, -clip.lowpass], x))
    return (x * min(1.0, 0.98 / (np.abs(x).max() + 1e-9))).astype(np.float32)


@lru_cache(maxsize=256)
def _brightness_table(percent: int) -> bytes:
    return bytes(min(255, v * percent // 100) for v in range(256))


class _FrameRenderer:
    """Renders the frames of a clip, disturbances included."""

    def __init__(self, clip: ClipRecipe) -> None:
        self.clip = clip
        self.scenes = [
            Scene(clip_rng(clip.seed, clip.clip_id, f"picture {k}"), k, clip.frame_size, _clip_beats(clip, k))
            for k in _class_names(clip)
        ]
        color = clip_rng(clip.seed, clip.clip_id, "cover").integers(20, 110, 3)
        self.occluder_color = tuple(int(c) for c in color)

    def snap_time(self, t: float) -> float:
        """Return the time for which the frame at time t was drawn."""
        frame_time = np.floor(t * float(self.clip.fps) + 1e-6) / float(self.clip.fps)
        return float(np.floor(frame_time * self.clip.animation_fps + 1e-6) / self.clip.animation_fps)

    def render(self, t: float) -> np.ndarray:
        """Render time t as uint8 (H, W, 3)."""
        clip = self.clip
        shift = clip.off_screen[2] if clip.off_screen and clip.off_screen[0] <= t < clip.off_screen[1] else 0.0
        image = self.scenes[int(t >= clip.cut_time)].render_image(t, shift)
        if clip.occlusion and clip.occlusion[0] <= t < clip.occlusion[1]:
            w, h = clip.frame_size
            left, width = w * clip.occlusion[2] + 0.02 * w * np.sin(2 * t), w * clip.occlusion[3]
            draw = ImageDraw.Draw(image)
            draw.ellipse((left + width * 0.25, h * 0.08, left + width * 0.75, h * 0.45), fill=self.occluder_color)
            draw.rectangle((left, h * 0.42, left + width, h), fill=self.occluder_color)
        gain = clip.brightness[0] + (clip.brightness[1] - clip.brightness[0]) * t / CLIP_SECONDS
        pixels = image.tobytes().translate(_brightness_table(round(gain * 100)))
        return np.frombuffer(pixels, np.uint8).reshape(clip.frame_size[1], clip.frame_size[0], 3)


def render_frames(clip: ClipRecipe) -> list[np.ndarray]:
    """Render all frames of a clip in order.

    Args:
        clip: Recipe of the clip.

    Returns:
        Frames, uint8 (H, W, 3). A repeated frame is the same object as the one before.
    """
    renderer = _FrameRenderer(clip)
    frames: list[np.ndarray] = []
    previous_t = None
    for k in range(int(np.ceil(CLIP_SECONDS * clip.fps))):
        t = renderer.snap_time(k / float(clip.fps) + 1e-6)
        if not frames or t != previous_t:
            frames.append(renderer.render(t))
            previous_t = t
        else:
            frames.append(frames[-1])
    return frames


def _to_file_audio(clip: ClipRecipe, samples: np.ndarray) -> np.ndarray:
    """Convert 16 kHz audio to the file's rate and channels: float32 (channels, n) whose mean is the mono audio."""
    if clip.sample_rate != SAMPLE_RATE:
        ratio = Fraction(clip.sample_rate, SAMPLE_RATE)
        samples = resample_poly(samples, ratio.numerator, ratio.denominator).astype(np.float32)
    samples = samples[None, : int(CLIP_SECONDS * clip.sample_rate)]
    if clip.channels == 1:
        return samples
    return np.concatenate([samples * (1 - clip.pan), samples * (1 + clip.pan)]).clip(-1, 1)


def render_clip(clip: ClipRecipe) -> tuple[np.ndarray, int, list[np.ndarray], Fraction]:
    """Render a clip before encoding.

    Args:
        clip: Recipe of the clip.

    Returns:
        Audio float32 (channels, n), its sample rate, frames uint8 (H, W, 3), and frames per second.
    """
    return _to_file_audio(clip, render_audio(clip)), clip.sample_rate, render_frames(clip), clip.fps


def render_model_inputs(clip: ClipRecipe) -> tuple[np.ndarray, np.ndarray]:
    """Render a clip as the models' inputs, without the codecs' losses.

    Args:
        clip: Recipe of the clip.

    Returns:
        16 kHz mono audio, float32 (160000,), and frames at 0.5, 1.5, ... 9.5 s, uint8 (10, H, W, 3).
    """
    renderer = _FrameRenderer(clip)
    frames = [renderer.render(renderer.snap_time(k + 0.5)) for k in range(int(CLIP_SECONDS))]
    return render_audio(clip), np.stack(frames)


def encode_mp4(clip: ClipRecipe, seconds: float = CLIP_SECONDS, streams: str = "av") -> bytes:
    """Encode a clip as MP4 (H.264 and AAC), reproducible byte for byte.

    Args:
        clip: Recipe of the clip.
        seconds: Duration to keep.
        streams: "av", "a" (audio only) or "v" (video only).

    Returns:
        Content of the file.
    """
    buffer = io.BytesIO()
    packets: list[av.Packet] = []
    with av.open(buffer, "w", format="mp4") as container:
        if "v" in streams:
            options = {"preset": "ultrafast", "crf": "30", "x264-params": "threads=1:scenecut=0"}
            packets += _encode_video(clip, container.add_stream("libx264", rate=clip.fps, options=options), seconds)
        if "a" in streams:
            audio = container.add_stream("aac", rate=clip.sample_rate, options={"aac_coder": "fast"})
            packets += _encode_audio(clip, audio, seconds)
        for packet in sorted(packets, key=_packet_order):
            container.mux(packet)
    return buffer.getvalue()


def _packet_order(packet: av.Packet) -> tuple[float, int]:
    assert packet.dts is not None and packet.time_base is not None
    return float(packet.dts * packet.time_base), packet.stream.index


def _encode_video(clip: ClipRecipe, stream: VideoStream, seconds: float) -> list[av.Packet]:
    stream.width, stream.height, stream.pix_fmt = *clip.frame_size, "yuv420p"
    stream.codec_context.thread_count = 1
    stream.codec_context.gop_size = max(2, int(np.ceil(CLIP_SECONDS * clip.fps / clip.n_keyframes)))
    packets: list[av.Packet] = []
    reformatter = VideoReformatter()
    previous, yuv = None, None
    for k, pixels in enumerate(render_frames(clip)[: int(np.ceil(seconds * clip.fps))]):
        if yuv is None or pixels is not previous:  # a repeated frame is converted once
            rgb = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            previous, yuv = pixels, reformatter.reformat(rgb, format="yuv420p", threads=1)
        yuv.pts, yuv.time_base = k, 1 / clip.fps
        packets += stream.encode(yuv)
    return packets + stream.encode(None)


def _encode_audio(clip: ClipRecipe, stream: AudioStream, seconds: float) -> list[av.Packet]:
    stream.layout = "mono" if clip.channels == 1 else "stereo"
    stream.bit_rate = AUDIO_BIT_RATES[clip.sample_rate] * (1 + clip.channels) // 2
    x = np.ascontiguousarray(_to_file_audio(clip, render_audio(clip))[:, : int(seconds * clip.sample_rate)])
    frame = av.AudioFrame.from_ndarray(x, format="fltp", layout=stream.layout.name)
    frame.sample_rate, frame.pts = clip.sample_rate, 0
    return stream.encode(frame) + stream.encode(None)
