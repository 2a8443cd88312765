"""LoRA adapters on a family's language model: made, saved, loaded (Hu et al. 2021; the peft library)."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import SafetensorError

from synesthesia import acceleration
from synesthesia.config import LoRAConfig
from synesthesia.models.base import ALL_LINEAR, LanguageModel


class AdapterError(ValueError):
    """A folder that is not an adapter of this model; the message names it."""


def add_lora(student: LanguageModel, lora_config: LoRAConfig) -> None:
    """Put a fresh adapter into the student; only its weights learn. Encoders stay as they are."""
    targets = student.lora_targets if lora_config.target_modules == ALL_LINEAR else lora_config.target_modules
    config = LoraConfig(
        r=lora_config.rank,
        lora_alpha=lora_config.alpha,  # pyright: ignore[reportArgumentType]  # a float works; peft types it int
        lora_dropout=lora_config.dropout,
        target_modules=targets,
    )
    try:
        student.model = get_peft_model(student.model, config)
    except ValueError as error:
        raise AdapterError(
            f"distill.lora.target_modules: {lora_config.target_modules!r} fits no module: {error}"
        ) from None
    acceleration.apply_to_lora(student)


def save(student: LanguageModel, folder: Path, base_checkpoint: str) -> None:
    """Write adapter_config.json and adapter_model.safetensors; `base` is the original's checkpoint."""
    student.model.peft_config["default"].base_model_name_or_path = base_checkpoint
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft looks for the base on the hub to compare vocabularies
        student.model.save_pretrained(folder, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)


def load(student: LanguageModel, folder: str | Path) -> LanguageModel:
    """The student with the adapter merged into its weights, ready to answer."""
    folder = Path(folder)
    try:
        config = json.loads((folder / "adapter_config.json").read_text())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        raise AdapterError(f"{folder} holds no LoRA adapter (adapter_config.json is missing or damaged)") from None
    if not isinstance(config, dict):
        raise AdapterError(f"{folder} holds no LoRA adapter (adapter_config.json is missing or damaged)")
    made_for = (config.get("auto_mapping") or {}).get("base_model_class")
    if made_for not in (None, type(student.model).__name__):
        raise AdapterError(
            f"{folder} is an adapter of {config.get('base_model_name_or_path')!r} and does not fit this model: "
            f"it was made for {made_for}, this is {type(student.model).__name__}"
        )
    if not (folder / "adapter_model.safetensors").is_file():
        raise AdapterError(f"{folder}: adapter_model.safetensors is missing")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message=".*missing adapter keys.*")
            merged = PeftModel.from_pretrained(student.model, folder)
    except (ValueError, RuntimeError, KeyError, UserWarning, SafetensorError) as error:
        raise AdapterError(
            f"{folder} is an adapter of {config.get('base_model_name_or_path')!r} and does not fit this model: {error}"
        ) from None
    student.model = merged.merge_and_unload().eval()
    return student
