"""Rendered clips as the miniatures' inputs, kept on the GPU: mel frames, video patches, and whole question batches."""

from __future__ import annotations

import os
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset
from tqdm import tqdm

from synesthesia.questions.prompt import format_prompt
from synesthesia.synthetic.labels import MAIN_CLASSES
from synesthesia.synthetic.pretraining import names

PATCH_MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073])  # CLIP's, as Qwen2-VL's processor
PATCH_STD = torch.tensor([0.26862954, 0.26130258, 0.27577711])


@dataclass
class ClipTensors:
    """Clips on one device, grouped by the size of their frames.

    kinds: int64 (clips,); mel: float16 (clips, 64, 200); groups: grid (t, h, w) -> (clip indices int64 (n,),
    patches uint8 (n, t*h*w, 1176), not yet normalised).
    """

    class_ids: torch.Tensor
    mel: torch.Tensor
    by_grid: dict[tuple[int, int, int], tuple[torch.Tensor, torch.Tensor]]


def _render_clip(job: tuple[int, str, int, float]):
    from synesthesia.config import load
    from synesthesia.synthetic import clips, tiny_models

    torch.set_num_threads(1)
    seed, clip_id, kind, coded = job
    recipe = clips.draw_recipe(f"{clip_id}-{kind}", names.SOUND_CLASSES[kind].name, seed)
    rng = np.random.default_rng([seed, kind, int.from_bytes(clip_id.encode()[-6:], "big")])
    if rng.random() < coded:
        from synesthesia.data import media

        curate = load("params/embedded.yaml").curate
        with tempfile.NamedTemporaryFile(suffix=".mp4", dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as file:
            file.write(clips.encode_mp4(recipe))
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
        import io

        from PIL import Image

        audio = clip.audio.astype(np.float32) / 32768
        frames = np.stack([np.asarray(Image.open(io.BytesIO(j)).convert("RGB")) for j in clip.jpegs])
    else:
        audio, frames = clips.render_model_inputs(recipe)
    processor = _render_clip.__dict__.setdefault(
        "processor", tiny_models.build_processor("qwen2.5-omni", tiny_models.train_tokenizer(["a"]))
    )
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
    grid = tuple(int(n) for n in video["video_grid_thw"][0])
    kept = (
        audio.astype(np.float16) if kind >= len(MAIN_CLASSES) else None
    )  # only the switch's network listens to sound itself
    return kind, mel["input_features"][0].astype(np.float16), grid, patches, kept


def render_all(jobs: list[tuple[int, str, int, float]], num_workers: int, split: str) -> list[tuple]:
    """Render jobs (world seed, clip id, kind, share that goes through H.264 and AAC) over processes."""
    with ProcessPoolExecutor(num_workers) as pool:
        return list(
            tqdm(pool.map(_render_clip, jobs, chunksize=8), total=len(jobs), desc=f"render {split}", mininterval=10)
        )


def pack(rendered: list[tuple], device: str) -> ClipTensors:
    """Put rendered clips on the device."""
    groups: dict[tuple[int, int, int], tuple[list, list]] = {}
    for i, (_, _, grid, patches, _) in enumerate(rendered):
        indices, stack = groups.setdefault(grid, ([], []))
        indices.append(i)
        stack.append(patches)
    return ClipTensors(
        torch.tensor([m[0] for m in rendered], device=device),
        torch.from_numpy(np.stack([m[1] for m in rendered])).to(device),
        {
            grid: (torch.tensor(indices, device=device), torch.from_numpy(np.stack(stack)).to(device))
            for grid, (indices, stack) in groups.items()
        },
    )


def normalize_patches(patches: torch.Tensor, augment: bool) -> torch.Tensor:
    """Patches uint8 (n, length, 1176) as the processor would normalise them, flat (n * length, 1176) float32.

    With `augment`: brightness and contrast of each clip vary, and pixels get noise.
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
    """Mel frames float32 (n, 64, 200); with `augment` rolled in time, louder or softer, with noise."""
    mel = mel.float()
    if augment:
        n, _, length = mel.shape
        shift = torch.randint(0, length, (n, 1, 1), device=mel.device)
        place = (torch.arange(length, device=mel.device) + shift) % length
        mel = mel.gather(2, place.expand(-1, mel.shape[1], -1))
        mel = mel + 0.1 * torch.randn(n, 1, 1, device=mel.device) + 0.05 * torch.randn_like(mel)
    return mel


def _identity(batch):
    return batch


class QuestionStream(IterableDataset):
    """Question batches drawn and tokenised ahead, in loader workers: (grid, places, ids, mask, right places).

    A batch is of one grid. `options` is a shared value that the training may raise.
    """

    def __init__(self, builder: BatchBuilder, batch_size: int, num_options, seed: int) -> None:
        self.class_ids, self.clips_by_grid = builder.class_ids, builder.clips_by_grid
        self.grids = list(self.clips_by_grid)
        self.weights = np.array([len(self.clips_by_grid[g]) for g in self.grids], dtype=float)
        self.batch_size, self.num_options, self.seed = batch_size, num_options, seed
        self.tokenize_questions = builder.tokenize_questions

    def __iter__(self):
        worker = torch.utils.data.get_worker_info()
        rng = np.random.default_rng([self.seed, worker.id if worker else 0])
        while True:
            grid = self.grids[rng.choice(len(self.grids), p=self.weights / self.weights.sum())]
            places = rng.integers(len(self.clips_by_grid[grid]), size=self.batch_size)
            yield (
                grid,
                torch.from_numpy(places),
                *self.tokenize_questions(rng, grid, places, int(self.num_options.value)),
            )


class BatchBuilder:
    """Question batches for one miniature as tensors on the device, without the processor's cost a clip."""

    def __init__(self, wrapper, clips: ClipTensors, *, seed: int, augment: bool) -> None:
        self.wrapper, self.clips, self.augment = wrapper, clips, augment
        self.rng = np.random.default_rng(seed)
        self.device = clips.mel.device
        self.class_ids = clips.class_ids.cpu().numpy()
        self.clips_by_grid = {grid: indices.cpu().numpy() for grid, (indices, _) in clips.by_grid.items()}
        self.tokenizer = wrapper.tokenizer
        self.has_video, self.has_audio = wrapper.condition != "audio", wrapper.condition != "silent_video"
        before, after = wrapper.text("QUESTION").split("QUESTION")
        words, kinds, members = self.tokenizer, self.class_ids, self.clips_by_grid

        def write(rng: np.random.Generator, grid, places: np.ndarray, options: int):
            """ids, mask and right places (n,) of questions about clips of one grid, on the CPU."""
            tokens = grid[0] * grid[1] * grid[2] // 4
            start = before
            for pad, count in (("<|AUDIO|>", 50), ("<|VIDEO|>", tokens), ("<|video_pad|>", tokens)):
                start = start.replace(pad, pad * count)
            asked = [names.draw_options(rng, int(k), options) for k in kinds[members[grid][places]]]
            texts = [start + format_prompt([names.NAMES[i] for i in o]) + after for o, _ in asked]
            batch = words(texts, padding=True, padding_side="right", return_tensors="pt")
            return batch["input_ids"], batch["attention_mask"], torch.tensor([p for _, p in asked])

        self.tokenize_questions = write

    def prefetch(self, batch_size: int, num_options, seed: int, num_workers: int):
        """An endless iterator of drafts."""
        return iter(
            DataLoader(
                QuestionStream(self, batch_size, num_options, seed),
                batch_size=None,
                num_workers=num_workers,
                collate_fn=_identity,
            )
        )

    def build_inputs(
        self, grid, rows: torch.Tensor, input_ids: torch.Tensor, attention_mask: torch.Tensor
    ) -> tuple[dict, torch.Tensor]:
        """Model inputs on the device and kinds int64 (n,)."""
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

    def draw_batch(self, grid, rows: torch.Tensor, num_options: int) -> tuple[dict, torch.Tensor, torch.Tensor]:
        """Model inputs, kinds int64 (n,) and the true options' places int64 (n,), drawn here and now."""
        ids, mask, right = self.tokenize_questions(self.rng, grid, rows.cpu().numpy(), num_options)
        batch, kinds = self.build_inputs(grid, rows, ids, mask)
        return batch, kinds, right.to(self.device)

    def compute_position_ids(self, grid, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Positions int64 (3, n, tokens): the same for all clips of a grid, hence computed for one without padding."""
        longest = input_ids[attention_mask.sum(1).argmax()][None]
        whole, model = torch.ones_like(longest), self.wrapper.model
        thw = torch.tensor([grid])
        if self.has_audio:
            seconds = torch.tensor([2.0])
            one, _ = model.get_rope_index(longest, None, thw, whole, False, torch.tensor([200]), seconds)
        else:
            video = 2 * (longest == self.tokenizer.convert_tokens_to_ids("<|video_pad|>")).long()
            one, _ = model.model.get_rope_index(
                longest, mm_token_type_ids=video, video_grid_thw=thw, attention_mask=whole
            )
        return one.to(self.device).expand(3, len(input_ids), -1)
