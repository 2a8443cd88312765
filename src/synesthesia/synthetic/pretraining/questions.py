"""The shared miniature Qwen2 learns the question's format on text alone.

Two things were found necessary (measured: without them it stays at chance for over a million questions): after its
answer each sequence goes on to ask for every option again, in random order, with loss on each letter; and the number
of options grows from 2 to 10, by one whenever the present number is answered right nine times in ten.
"""

from __future__ import annotations

import time

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, IterableDataset

from synesthesia.questions.prompt import format_prompt
from synesthesia.schemas import LETTERS
from synesthesia.synthetic.pretraining.names import NAMES

USER_PREFIX = "<|im_start|>user\n<|audio_bos|>"
AUDIO_END = "<|audio_eos|>"
ASSISTANT_PREFIX = "<|im_end|>\n<|im_start|>assistant\n"


class TextStream(IterableDataset):
    """Batches of (ids, labels, right letters' places): a name, the question, the letter, then each option again."""

    def __init__(self, tokenizer, batch_size: int, num_options, seed: int) -> None:
        self.tokenizer, self.batch_size, self.num_options, self.seed = tokenizer, batch_size, num_options, seed

    def __iter__(self):
        worker = torch.utils.data.get_worker_info()
        rng = np.random.default_rng([self.seed, worker.id if worker else 0])
        encode = lambda texts: self.tokenizer(texts, add_special_tokens=False)["input_ids"]  # noqa: E731
        plain, spaced = encode(NAMES), encode([f" {n}" for n in NAMES])
        ask_again = encode([ASSISTANT_PREFIX])[0]
        letters = [i[0] for i in encode(list(LETTERS))]
        pad = self.tokenizer.pad_token_id
        while True:
            k = int(self.num_options.value)
            chosen = [rng.choice(len(NAMES), size=k, replace=False) for _ in range(self.batch_size)]
            places = rng.integers(k, size=self.batch_size)
            texts = [
                USER_PREFIX + NAMES[c[p]] + AUDIO_END + format_prompt([NAMES[i] for i in c]) + ASSISTANT_PREFIX
                for c, p in zip(chosen, places, strict=True)
            ]
            rows, marks = [], []
            for ids, c, p in zip(encode(texts), chosen, places, strict=True):
                row, mark = [*ids, letters[p]], [len(ids)]
                for place in rng.permutation(k):
                    name = plain if rng.random() < 0.5 else spaced
                    row += [*name[c[place]], *ask_again, letters[place]]
                    mark.append(len(row) - 1)
                rows.append(row)
                marks.append(mark)
            longest = max(map(len, rows))
            ids = torch.full((self.batch_size, longest), pad)
            labels = torch.full((self.batch_size, longest), -100)
            for i, (row, mark) in enumerate(zip(rows, marks, strict=True)):
                ids[i, : len(row)] = torch.tensor(row)
                labels[i, mark] = ids[i, mark]
            yield k, ids, labels


def train_shared_lm(
    model, tokenizer, *, device: str, max_seconds: float, num_workers: int, seed: int, batch_size: int = 256
) -> float:
    """Train in place until ten options are right in 98.5 % or time is up; returns the last running accuracy."""
    torch.manual_seed(seed)
    options = torch.multiprocessing.get_context("fork").Value("i", 2)
    loader = iter(
        DataLoader(TextStream(tokenizer, batch_size, options, seed), batch_size=None, num_workers=num_workers)
    )
    model.to(device).train()
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
        if step % 10 == 0 and k == options.value:
            right = (logits.argmax(-1) == target).float().view(batch_size, k + 1)[:, 0].mean().item()
            mean = 0.8 * mean + 0.2 * right
            if step % 200 == 0:
                print(f"text: step {step} options {k} accuracy {mean:.3f} {time.time() - start:.0f} s", flush=True)
            if k < len(LETTERS) and mean > 0.9:
                options.value, mean = k + 1, 0.0
            elif k == len(LETTERS) and mean > 0.985:
                break
    print(f"text: done at step {step}, options {options.value}, accuracy {mean:.3f}", flush=True)
    return mean
