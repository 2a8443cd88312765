"""How far our bfloat16 is from plain transformers' and peft's at full size, and how far both are from float32.

The ten letters' logits and the LoRA gradients of a few clips, once by ours (compiled, replayed, without padding), once
by plain transformers and peft in one batch, once by them one clip at a time, and once by them in float32 with the same
weights. Differences are relative, by norm. Rounding moves all three of bfloat16; ours should be no farther from float32
than plain is. Models have the real configuration and random weights; an adapter as after some learning (B is not zero).

examples:
  python benchmarks/agreement.py                        both models, three minutes on an H100
  python benchmarks/agreement.py --models qwen2-audio
"""

from __future__ import annotations

import argparse

import gpu
import torch
from peft import LoraConfig, get_peft_model

from synesthesia.distillation.lean_lora import use_lean_lora
from synesthesia.distillation.passes import fastest
from synesthesia.models import device, random_weights


def compare(name: str) -> None:
    """Print the two rows of one model."""
    wrapped = random_weights.build(name, "cpu", scale=random_weights.Scale())  # for its processor alone
    clips = 4 if name == "qwen2-audio" else 2  # what plain peft without checkpointing holds
    loss = torch.nn.functional.cross_entropy
    model = gpu.plain_model(name)
    many = gpu.plain_inputs(wrapped, clips)
    alone = [gpu.plain_inputs(wrapped, clips, only=i) for i in range(clips)]
    adapted = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules=wrapped.lora_targets))
    learnt = [p for p in adapted.parameters() if p.requires_grad]
    torch.manual_seed(1)
    for parameter in learnt:
        parameter.data = 0.02 * torch.randn_like(parameter)  # as after some learning: B is not zero
    says = torch.arange(clips, device="cuda") % 10

    def plain(inputs: dict, letters: torch.Tensor) -> torch.Tensor:
        logits = adapted(**inputs, use_cache=False).logits
        at = inputs["attention_mask"].sum(1) - 1
        logits = logits[torch.arange(len(at)), at].float()
        (loss(logits, wrapped.letter_ids.cuda()[letters], reduction="sum") / clips).backward()
        return logits[:, wrapped.letter_ids.cuda()].detach()

    def gradients() -> torch.Tensor:
        made = torch.cat([p.grad.flatten() for p in learnt])
        for parameter in learnt:
            parameter.grad = None
        return made

    frozen = [*(p for p in adapted.parameters() if not p.requires_grad), *adapted.buffers()]
    halves = [tensor for tensor in frozen if tensor.dtype == torch.bfloat16]
    for tensor in halves:
        tensor.data = tensor.data.float()
    halved = {k: v.float() for k, v in many.items() if isinstance(v, torch.Tensor) and v.dtype == torch.bfloat16}
    exact = plain({**many, **halved}, says)
    exact_gradients = gradients()
    for tensor in halves:
        tensor.data = tensor.data.bfloat16()
    gpu.released()
    batched, batched_gradients = plain(many, says), gradients()
    single = torch.cat([plain(inputs, says[i : i + 1]) for i, inputs in enumerate(alone)])
    single_gradients = gradients()
    del many, alone
    gpu.released()
    use_lean_lora(adapted)
    ours = random_weights.family(name)(model, wrapped.processor, "cuda")
    ours.compile()
    ours.learn()
    for parameter in learnt:
        parameter.grad = torch.zeros_like(parameter)
    batch = ours.collate(gpu.percepts(ours, clips), gpu.prompts(clips))
    with torch.inference_mode():
        mine = ours.letters(ours.answer_logits(dict(batch)))
    tokens = wrapped.letter_ids.repeat(clips, 1)
    nothing = torch.zeros(clips, dtype=torch.bool), torch.zeros(clips, 10), tokens
    passes = fastest(ours, learnt, gpu.TRAINING)
    for taught in passes.ahead([(dict(batch), says.cpu(), *nothing)]):
        passes.learn(taught, clips)
    mine_gradients = gradients()

    def apart(a: torch.Tensor, b: torch.Tensor) -> float:
        return float((a - b).norm() / b.norm())

    for what, we, together, one, true in (
        ("logits", mine, batched, single, exact),
        ("gradients", mine_gradients, batched_gradients, single_gradients, exact_gradients),
    ):
        far = apart(we, together), apart(one, together), apart(we, true), apart(together, true)
        print(f"| {name}, {clips} clips | {what} | " + " | ".join(f"{value:.1e}" for value in far) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["qwen2-audio", "qwen2-vl"], choices=random_weights.NAMES)
    given = parser.parse_args()
    if not torch.cuda.is_available():
        print("no GPU here: this needs one of 80 GB")
        return
    device.pick()
    print(
        "| model | what | ours from plain | plain's batch of one from several | ours from float32 "
        "| plain from float32 |"
    )
    print("|---|---|---|---|---|---|", flush=True)
    for name in given.models:
        compare(name)
        gpu.released()


if __name__ == "__main__":
    main()
