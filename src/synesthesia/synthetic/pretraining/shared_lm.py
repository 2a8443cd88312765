"""Pretraining of the shared tiny Qwen2: the question's format, on text alone.

Two measures are necessary (without them accuracy stays at chance for over a million questions): after its answer each
sequence asks for every option again, in random order, with loss on each letter; and the number of options grows from
2 to 10, by one whenever accuracy at the current number exceeds 90 %.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from multiprocessing.sharedctypes import Synchronized
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, IterableDataset
from transformers import Qwen2ForCausalLM, Qwen2Tokenizer

from synesthesia.questions.prompt import format_prompt
from synesthesia.schemas import LETTERS
from synesthesia.synthetic.pretraining.names import NAMES

USER_PREFIX = "<|im_start|>user\n<|audio_bos|>"
AUDIO_END = "<|audio_eos|>"
ASSISTANT_PREFIX = "<|im_end|>\n<|im_start|>assistant\n"
TextBatch = tuple[int, torch.Tensor, torch.Tensor]  # number of options; ids and labels int64 (n, tokens)


class TextStream(IterableDataset):
    """Endless stream of text batches: a name, the question, the letter, then each option again."""

    def __init__(self, tokenizer: Qwen2Tokenizer, batch_size: int, num_options: Synchronized[int], seed: int) -> None:
        """Create the stream.

        Args:
            tokenizer: Tokenizer of the tiny models.
            batch_size: Questions per batch.
            num_options: Options per question, a shared value that the training loop may raise.
            seed: Random seed; each worker adds its index.
        """
        self.tokenizer, self.batch_size, self.num_options, self.seed = tokenizer, batch_size, num_options, seed

    def _encode(self, texts: list[str]) -> list[list[int]]:
        return cast("list[list[int]]", self.tokenizer(texts, add_special_tokens=False)["input_ids"])

    def __iter__(self) -> Iterator[TextBatch]:
        worker = torch.utils.data.get_worker_info()
        rng = np.random.default_rng([self.seed, worker.id if worker else 0])
        name_ids, spaced_name_ids = self._encode(NAMES), self._encode([f" {n}" for n in NAMES])
        assistant_prefix = self._encode([ASSISTANT_PREFIX])[0]
        letters = [ids[0] for ids in self._encode(list(LETTERS))]
        pad = cast("int", self.tokenizer.pad_token_id)
        while True:
            k = int(self.num_options.value)
            options = [rng.choice(len(NAMES), size=k, replace=False) for _ in range(self.batch_size)]
            targets = rng.integers(k, size=self.batch_size)
            texts = [
                USER_PREFIX + NAMES[o[t]] + AUDIO_END + format_prompt([NAMES[i] for i in o]) + ASSISTANT_PREFIX
                for o, t in zip(options, targets, strict=True)
            ]
            sequences, loss_positions = [], []
            for prompt_ids, o, t in zip(self._encode(texts), options, targets, strict=True):
                sequence, positions = [*prompt_ids, letters[t]], [len(prompt_ids)]
                for option in rng.permutation(k):
                    ids_of_names = name_ids if rng.random() < 0.5 else spaced_name_ids
                    sequence += [*ids_of_names[o[option]], *assistant_prefix, letters[option]]
                    positions.append(len(sequence) - 1)
                sequences.append(sequence)
                loss_positions.append(positions)
            length = max(map(len, sequences))
            ids = torch.full((self.batch_size, length), pad)
            labels = torch.full((self.batch_size, length), -100)
            for i, (sequence, positions) in enumerate(zip(sequences, loss_positions, strict=True)):
                ids[i, : len(sequence)] = torch.tensor(sequence)
                labels[i, positions] = ids[i, positions]
            yield k, ids, labels


def train_shared_lm(
    model: Qwen2ForCausalLM,
    tokenizer: Qwen2Tokenizer,
    *,
    device: str,
    max_seconds: float,
    num_workers: int,
    seed: int,
    batch_size: int = 256,
) -> float:
    """Train in place until accuracy on ten options is 98.5 % or time is up.

    Args:
        model: Shared Qwen2, moved to `device`.
        tokenizer: Tokenizer of the tiny models.
        device: `cpu` or `cuda`.
        max_seconds: Time limit.
        num_workers: Number of loader processes.
        seed: Random seed.
        batch_size: Questions per step.

    Returns:
        Last running mean of the accuracy.
    """
    torch.manual_seed(seed)
    num_options = torch.multiprocessing.get_context("fork").Value("i", 2)
    stream = TextStream(tokenizer, batch_size, num_options, seed)
    loader = iter(DataLoader(stream, batch_size=None, num_workers=num_workers))
    cast("torch.nn.Module", model).to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01, betas=(0.9, 0.98))
    mean, step, start = 0.0, 0, time.time()
    while time.time() - start < max_seconds:
        k, ids, labels = next(loader)
        ids, labels = ids.to(device), labels.to(device)
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state
            keep = labels[:, 1:] != -100
            logits = model.lm_head(hidden[:, :-1][keep]).float()
        target = labels[:, 1:][keep]
        loss = F.cross_entropy(logits, target)
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * min(1, (step + 1) / 200)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
        if step % 10 == 0 and k == num_options.value:
            accuracy = (logits.argmax(-1) == target).float().view(batch_size, k + 1)[:, 0].mean().item()
            mean = 0.8 * mean + 0.2 * accuracy
            if step % 200 == 0:
                print(f"text: step {step} options {k} accuracy {mean:.3f} {time.time() - start:.0f} s", flush=True)
            if k < len(LETTERS) and mean > 0.9:
                num_options.value, mean = k + 1, 0.0
            elif k == len(LETTERS) and mean > 0.985:
                break
    print(f"text: done at step {step}, options {num_options.value}, accuracy {mean:.3f}", flush=True)
    return mean
