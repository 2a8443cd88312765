"""Optional speed: patches of transformers and peft, each behind a switch of the `acceleration` block, one door.

`apply(model, config)` runs once, when a model is loaded; `apply_to_lora(student)` once, when it gets its adapter. With
every switch off neither changes anything, and the model is plain transformers + peft.

| switch | module | effect |
|---|---|---|
| compile | compile, padded_mlp | `torch.compile` of every layer, rounding as eager does |
| fused_kernels | kernels/{rms_norm, lora_swiglu, causal_attention} | Triton kernels on a GPU |
| fused_lora | lora_linear, lora_grouped | LoRA in the model's dtype, A of one input as one product |
| fused_qkv | audio_attention | Qwen2-Audio's encoder: q, k, v as one product (GPU), heads as views (CPU) |
| varlen_attention | kernels/varlen_attention, vision_encoder | attention by chunk length, sizes on the CPU |
| crop_audio_encoder | audio_encoder | Qwen2-Audio's encoder over the clip's length instead of 30 s |
| last_token_only | last_token | last layer, norm and head at the answer position alone |
| linear_patch_embed | vision_encoder | patch embedding as a matrix product on a CPU |
| flat_gradients | gradient_buffer | all gradients of a step in one buffer |
| cuda_graph | cuda_graph, split_forward | a training step as one CUDA graph per shape |

`cuda_graph` takes effect together with compile, last_token_only and flat_gradients, on a GPU, without LoRA dropout.

Unsloth and Liger-Kernel have kernels of the same kind; these round exactly as transformers' separate operations do, so
that accelerated and plain results can be compared bit by bit (docs/explanation/speed.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from synesthesia.config import AccelerationConfig
    from synesthesia.models.base import LanguageModel

    Model = TypeVar("Model", bound=LanguageModel)


def apply(model: Model, config: AccelerationConfig) -> Model:
    """Patch a loaded model in place, by the switches that are on and that its architecture and device support.

    Args:
        model: A model as its family loads it, without an adapter.
        config: The switches.

    Returns:
        The same model.
    """
    from synesthesia.acceleration import audio_attention, audio_encoder, last_token, vision_encoder
    from synesthesia.acceleration import compile as compilation

    model.acceleration = config
    if config.last_token_only:
        last_token.patch_answer_position(model)
    if config.varlen_attention:
        vision_encoder.patch_attention_by_chunk(model)
    if config.linear_patch_embed and model.vision_encoder is not None:
        vision_encoder.patch_embed_as_linear(model.vision_encoder)
    if config.crop_audio_encoder and audio_encoder.is_supported(model):
        audio_encoder.CroppedAudioEncoder(model)
    if config.fused_qkv and audio_encoder.is_supported(model):
        for layer in model.audio_encoder.layers:
            audio_attention.patch_attention(layer.self_attn)
    if config.compile:
        compilation.compile_model(model)
    return model


def apply_to_lora(student: LanguageModel) -> None:
    """Patch the LoRA layers of a student in place, by the switches it was loaded with.

    Args:
        student: A model with a fresh, unmerged peft adapter.
    """
    import torch

    from synesthesia.acceleration.kernels import causal_attention, lora_swiglu
    from synesthesia.acceleration.lora_linear import patch_lora_layers

    config = student.acceleration
    if config.fused_lora:
        patch_lora_layers(student.model)
        if config.fused_kernels and torch.device(student.device).type == "cuda":
            lora_swiglu.patch_swiglu(student.decoder())
    if config.fused_kernels and causal_attention.is_supported(student.device):
        causal_attention.patch_causal_attention(student.decoder())
