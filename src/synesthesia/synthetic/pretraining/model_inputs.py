"""Rendered clips as inputs of the tiny models: mel frames, video patches and question batches on the device."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset
from tqdm import tqdm

from synesthesia.models.base import LanguageModel
from synesthesia.questions.prompt import format_prompt
from synesthesia.synthetic.labels import MAIN_CLASSES
from synesthesia.synthetic.pretraining import names

PATCH_MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073])  # CLIP's, as in Qwen2-VL's processor
PATCH_STD = torch.tensor([0.26862954, 0.26130258, 0.27577711])
NUM_AUDIO_TOKENS = 50  # per clip, see tiny_models

Grid = tuple[int, int, int]  # patches in time, height, width
RenderJob = tuple[int, str, int, float]  # seed, clip id, class id, fraction of clips that pass through the codecs


class RenderedClip(NamedTuple):
    """One clip before it goes to the device."""

    class_id: int
    mel: np.ndarray  # float16 (64, 200)
    grid: Grid
    patches: np.ndarray  # uint8 (t*h*w, 1176)
    audio: np.ndarray | None  # float16 (160000,); only for classes outside the study, which the switch's network needs


class QuestionBatch(NamedTuple):
    """Tokenized questions about clips of one grid, on the CPU."""

    grid: Grid
    rows: torch.Tensor  # int64 (n,), positions among the clips of the grid
    input_ids: torch.Tensor  # int64 (n, tokens), padded on the right
    attention_mask: torch.Tensor  # int64 (n, tokens)
    targets: torch.Tensor  # int64 (n,), positions of the true options


@dataclass
class ClipTensors:
    """Clips on one device, grouped by frame size.

    Attributes:
        class_ids: int64 (clips,).
        mel: float16 (clips, 64, 200).
        by_grid: Per grid, clip indices int64 (n,) and patches uint8 (n, t*h*w, 1176), not yet normalized.
    """

    class_ids: torch.Tensor
    mel: torch.Tensor
    by_grid: dict[Grid, tuple[torch.Tensor, torch.Tensor]]


@cache
def _processor() -> Any:
    from synesthesia.synthetic import tiny_models

    return tiny_models.build_processor("qwen2.5-omni", tiny_models.train_tokenizer(["a"]))


def _decode_mp4(mp4: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Decode a file as the curate stage does: audio float32 (samples,) and frames uint8 (10, H, W, 3)."""
    from PIL import Image

    from synesthesia.config import load
    from synesthesia.data import media

    curate = load("params/embedded.yaml").curate
    with tempfile.NamedTemporaryFile(suffix=".mp4", dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as file:
        file.write(mp4)
        file.flush()
        clip = media.decode(
            Path(file.name),
            sample_rate=curate.sample_rate,
            clip_seconds=curate.clip_seconds,
            min_seconds=curate.min_seconds,
            frames_per_second=curate.frames_per_second,
            max_pixels=curate.max_pixels,
            jpeg_quality=curate.jpeg_quality,
        )
    frames = np.stack([np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB")) for jpeg in clip.jpegs])
    return clip.audio.astype(np.float32) / 32768, frames


def _render_clip(job: RenderJob) -> RenderedClip:
    from synesthesia.synthetic import clips

    torch.set_num_threads(1)
    seed, clip_id, class_id, codec_fraction = job
    recipe = clips.draw_recipe(f"{clip_id}-{class_id}", names.SOUND_CLASSES[class_id].name, seed)
    rng = np.random.default_rng([seed, class_id, int.from_bytes(clip_id.encode()[-6:], "big")])
    if rng.random() < codec_fraction:
        audio, frames = _decode_mp4(clips.encode_mp4(recipe))
    else:
        audio, frames = clips.render_model_inputs(recipe)
    processor = _processor()
    mel = processor.feature_extractor(audio, sampling_rate=16000, padding="max_length", return_tensors="np")
    video = processor.video_processor(
        [frames],
        do_sample_frames=False,
        cap_pixels_per_frame=False,
        do_rescale=False,
        do_normalize=False,
        return_tensors="pt",
    )
    patches = video["pixel_values_videos"].round().clamp(0, 255).to(torch.uint8).numpy()
    t, h, w = (int(n) for n in video["video_grid_thw"][0])
    kept_audio = audio.astype(np.float16) if class_id >= len(MAIN_CLASSES) else None
    return RenderedClip(class_id, mel["input_features"][0].astype(np.float16), (t, h, w), patches, kept_audio)


def render_all(jobs: list[RenderJob], num_workers: int, split: str) -> list[RenderedClip]:
    """Render clips in several processes.

    Args:
        jobs: One job per clip.
        num_workers: Number of processes.
        split: Name of the split, for the progress bar.

    Returns:
        Clips in the order of the jobs.
    """
    with ProcessPoolExecutor(num_workers) as pool:
        rendered = pool.map(_render_clip, jobs, chunksize=8)
        return list(tqdm(rendered, total=len(jobs), desc=f"render {split}", mininterval=10))


def pack(rendered: list[RenderedClip], device: str) -> ClipTensors:
    """Move rendered clips to a device.

    Args:
        rendered: Clips.
        device: `cpu` or `cuda`.

    Returns:
        The clips, grouped by grid.
    """
    by_grid: dict[Grid, tuple[list[int], list[np.ndarray]]] = {}
    for i, clip in enumerate(rendered):
        indices, patches = by_grid.setdefault(clip.grid, ([], []))
        indices.append(i)
        patches.append(clip.patches)
    return ClipTensors(
        torch.tensor([clip.class_id for clip in rendered], device=device),
        torch.from_numpy(np.stack([clip.mel for clip in rendered])).to(device),
        {
            grid: (torch.tensor(indices, device=device), torch.from_numpy(np.stack(patches)).to(device))
            for grid, (indices, patches) in by_grid.items()
        },
    )


def normalize_patches(patches: torch.Tensor, augment: bool) -> torch.Tensor:
    """Normalize patches as the processor does.

    Args:
        patches: uint8 (n, length, 1176).
        augment: Whether to vary brightness and contrast per clip and to add noise per pixel.

    Returns:
        Patches of all clips, float32 (n * length, 1176).
    """
    pixels = patches.float() / 255
    if augment:
        n = len(pixels)
        contrast = 0.8 + 0.4 * torch.rand(n, 1, 1, device=pixels.device)
        shift = 0.2 * (torch.rand(n, 1, 1, device=pixels.device) - 0.5)
        pixels = ((pixels - 0.5) * contrast + 0.5 + shift + 0.02 * torch.randn_like(pixels)).clamp(0, 1)
    mean = PATCH_MEAN.to(pixels.device).repeat_interleave(2 * 14 * 14)
    std = PATCH_STD.to(pixels.device).repeat_interleave(2 * 14 * 14)
    return ((pixels - mean) / std).flatten(0, 1)


def augment_mel(mel: torch.Tensor, augment: bool) -> torch.Tensor:
    """Convert mel frames to float32 and augment them.

    Args:
        mel: (n, 64, 200).
        augment: Whether to roll in time, change the level and add noise, per clip.

    Returns:
        float32 (n, 64, 200).
    """
    mel = mel.float()
    if augment:
        n, _, length = mel.shape
        shift = torch.randint(0, length, (n, 1, 1), device=mel.device)
        index = (torch.arange(length, device=mel.device) + shift) % length
        mel = mel.gather(2, index.expand(-1, mel.shape[1], -1))
        mel = mel + 0.1 * torch.randn(n, 1, 1, device=mel.device) + 0.05 * torch.randn_like(mel)
    return mel


def _identity(batch: Any) -> Any:
    return batch


Tokenize = Callable[[np.random.Generator, Grid, np.ndarray, int], tuple[torch.Tensor, torch.Tensor, torch.Tensor]]


class QuestionStream(IterableDataset):
    """Endless stream of question batches, drawn and tokenized in the loader's workers. A batch has one grid."""

    def __init__(self, builder: BatchBuilder, batch_size: int, num_options: Synchronized[int], seed: int) -> None:
        """Create the stream.

        Args:
            builder: Source of clips and tokenizer.
            batch_size: Questions per batch.
            num_options: Options per question, a shared value that the training loop may raise.
            seed: Random seed; each worker adds its index.
        """
        self.clips_by_grid = builder.clips_by_grid
        self.grids = list(self.clips_by_grid)
        self.weights = np.array([len(self.clips_by_grid[g]) for g in self.grids], dtype=float)
        self.batch_size, self.num_options, self.seed = batch_size, num_options, seed
        self.tokenize_questions = builder.tokenize_questions

    def __iter__(self) -> Iterator[QuestionBatch]:
        worker = torch.utils.data.get_worker_info()
        rng = np.random.default_rng([self.seed, worker.id if worker else 0])
        while True:
            grid = self.grids[rng.choice(len(self.grids), p=self.weights / self.weights.sum())]
            rows = rng.integers(len(self.clips_by_grid[grid]), size=self.batch_size)
            tokenized = self.tokenize_questions(rng, grid, rows, int(self.num_options.value))
            yield QuestionBatch(grid, torch.from_numpy(rows), *tokenized)


class BatchBuilder:
    """Builds question batches for one tiny model on the device, without calling its processor per clip."""

    def __init__(self, wrapper: LanguageModel, clips: ClipTensors, *, seed: int, augment: bool) -> None:
        """Create the builder.

        Args:
            wrapper: Tiny model.
            clips: Clips on the model's device.
            seed: Random seed of `draw_batch`.
            augment: Whether to augment mel frames and patches.
        """
        self.wrapper, self.clips, self.augment = wrapper, clips, augment
        self.rng = np.random.default_rng(seed)
        self.device = clips.mel.device
        self.clips_by_grid = {grid: indices.cpu().numpy() for grid, (indices, _) in clips.by_grid.items()}
        self.tokenizer = wrapper.tokenizer
        self.has_video, self.has_audio = wrapper.condition != "audio", wrapper.condition != "silent_video"
        self.tokenize_questions = self._make_tokenize()

    def _make_tokenize(self) -> Tokenize:
        """Return a function without references to the device, which the loader's workers can run."""
        prefix, suffix = self.wrapper.render_prompt("QUESTION").split("QUESTION")
        tokenizer, clips_by_grid = self.tokenizer, self.clips_by_grid
        class_ids = self.clips.class_ids.cpu().numpy()

        def tokenize(
            rng: np.random.Generator, grid: Grid, rows: np.ndarray, num_options: int
        ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
            num_video_tokens = grid[0] * grid[1] * grid[2] // 4
            start = prefix
            for token, count in (
                ("<|AUDIO|>", NUM_AUDIO_TOKENS),
                ("<|VIDEO|>", num_video_tokens),
                ("<|video_pad|>", num_video_tokens),
            ):
                start = start.replace(token, token * count)
            questions = [names.draw_options(rng, int(k), num_options) for k in class_ids[clips_by_grid[grid][rows]]]
            texts = [start + format_prompt([names.NAMES[i] for i in options]) + suffix for options, _ in questions]
            batch = tokenizer(texts, padding=True, padding_side="right", return_tensors="pt")
            return batch["input_ids"], batch["attention_mask"], torch.tensor([target for _, target in questions])

        return tokenize

    def prefetch(
        self, batch_size: int, num_options: Synchronized[int], seed: int, num_workers: int
    ) -> Iterator[QuestionBatch]:
        """Iterate over question batches without end.

        Args:
            batch_size: Questions per batch.
            num_options: Options per question, a shared value that the training loop may raise.
            seed: Random seed.
            num_workers: Number of loader processes.

        Returns:
            The iterator.
        """
        stream = QuestionStream(self, batch_size, num_options, seed)
        return iter(DataLoader(stream, batch_size=None, num_workers=num_workers, collate_fn=_identity))

    def build_inputs(
        self, grid: Grid, rows: torch.Tensor, input_ids: torch.Tensor, attention_mask: torch.Tensor
    ) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """Build the model inputs of tokenized questions.

        Args:
            grid: Grid of the clips.
            rows: int64 (n,), positions among the clips of the grid.
            input_ids: int64 (n, tokens).
            attention_mask: int64 (n, tokens).

        Returns:
            Model inputs on the device, and class ids int64 (n,).
        """
        indices, patches = self.clips.by_grid[grid]
        rows = rows.to(self.device)
        index = indices[rows]
        batch = {"input_ids": input_ids.to(self.device), "attention_mask": attention_mask.to(self.device)}
        if self.has_audio:
            mel = augment_mel(self.clips.mel[index], self.augment)
            batch["input_features"] = mel
            batch["feature_attention_mask"] = torch.ones(len(mel), 200, dtype=torch.long, device=self.device)
        if self.has_video:
            batch["pixel_values_videos"] = normalize_patches(patches[rows], self.augment)
            batch["video_grid_thw"] = torch.tensor([grid], device=self.device).expand(len(index), 3)
            batch["position_ids"] = self.compute_position_ids(grid, input_ids, attention_mask)
        return batch, self.clips.class_ids[index]

    def draw_batch(
        self, grid: Grid, rows: torch.Tensor, num_options: int
    ) -> tuple[dict[str, torch.Tensor], torch.Tensor, torch.Tensor]:
        """Draw questions about clips in this process.

        Args:
            grid: Grid of the clips.
            rows: int64 (n,), positions among the clips of the grid.
            num_options: Options per question.

        Returns:
            Model inputs, class ids int64 (n,) and positions of the true options int64 (n,), on the device.
        """
        ids, mask, targets = self.tokenize_questions(self.rng, grid, rows.cpu().numpy(), num_options)
        batch, class_ids = self.build_inputs(grid, rows, ids, mask)
        return batch, class_ids, targets.to(self.device)

    def compute_position_ids(self, grid: Grid, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Compute multimodal rotary positions: equal for all clips of a grid, hence computed once without padding.

        Args:
            grid: Grid of the clips.
            input_ids: int64 (n, tokens).
            attention_mask: int64 (n, tokens).

        Returns:
            int64 (3, n, tokens).
        """
        longest = input_ids[attention_mask.sum(1).argmax()][None]
        mask, model = torch.ones_like(longest), self.wrapper.model
        thw = torch.tensor([grid])
        if self.has_audio:
            seconds = torch.tensor([2.0])
            positions, _ = model.get_rope_index(longest, None, thw, mask, False, torch.tensor([200]), seconds)
        else:
            video = 2 * (longest == self.tokenizer.convert_tokens_to_ids("<|video_pad|>")).long()
            positions, _ = model.model.get_rope_index(
                longest, mm_token_type_ids=video, video_grid_thw=thw, attention_mask=mask
            )
        return positions.to(self.device).expand(3, len(input_ids), -1)
