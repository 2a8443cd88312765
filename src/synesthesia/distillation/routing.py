"""Routing: which clips each teacher labels, in both directions (paper section 4.1)."""

from __future__ import annotations

import hashlib

from synesthesia.config import RouteConfig


def route_clips(
    clips: list[dict], visual_better: dict[str, bool], probabilities: dict[str, float], route_config: RouteConfig
) -> list[dict]:
    """Decide per clip whether the visual model teaches the audio model, and the reverse.

    Mode `learned` follows the switch: the visual model teaches where its predicted probability exceeds the threshold,
    the audio model teaches elsewhere. The other modes are controls: `always` and `never` close or open both directions
    on all clips, `random` closes each direction on as large a fraction of clips as the switch does, `true_gap` follows
    the label's measured gap. A clip without a prediction (no analysis clip of its label survived) has no teacher in
    the modes `learned` and `random`.

    Args:
        clips: Rows of schemas.CLIP, split finetune.
        visual_better: label -> whether the visual model is better on the analysis clips; labels may be missing.
        probabilities: clip_id -> the switch's probability that the visual model is better; clips may be missing.
        route_config: Mode, threshold in [0, 1] and seed.

    Returns:
        Rows of schemas.ROUTE in the order of `clips`.
    """
    predicted = {clip["clip_id"]: probabilities.get(clip["clip_id"]) for clip in clips}
    closed = {clip_id: p is not None and p > route_config.threshold for clip_id, p in predicted.items()}
    closed_fraction = sum(closed.values()) / max(1, sum(p is not None for p in predicted.values()))
    rows = []
    for clip in clips:
        clip_id = clip["clip_id"]
        has_prediction = predicted[clip_id] is not None
        if route_config.mode == "learned":
            visual, audio = closed[clip_id], has_prediction and not closed[clip_id]
        elif route_config.mode == "true_gap":
            label = clip["labels"][0]
            visual, audio = visual_better.get(label, False), label in visual_better and not visual_better[label]
        elif route_config.mode == "random":
            visual = has_prediction and hash_uniform(route_config.seed, clip_id, "visual") < closed_fraction
            audio = has_prediction and hash_uniform(route_config.seed, clip_id, "audio") < 1 - closed_fraction
        else:
            visual = audio = route_config.mode == "always"
        rows.append(
            {
                "clip_id": clip_id,
                "visual_better_probability": predicted[clip_id],
                "visual_teaches": visual,
                "audio_teaches": audio,
            }
        )
    return rows


def hash_uniform(seed: int, *keys: str) -> float:
    """Draw a number that depends on the seed and the keys alone.

    Args:
        seed: Seed of the draw.
        keys: Names of what the number is drawn for.

    Returns:
        A number in [0, 1): the first 64 bits of a SHA-256 digest.
    """
    digest = hashlib.sha256("/".join([str(seed), *keys]).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def summarize_routes(rows: list[dict], clips: list[dict], visual_better: dict[str, bool]) -> dict[str, float]:
    """Summarize routes as metrics.

    Args:
        rows: Rows of schemas.ROUTE, at least one.
        clips: The clips of these rows, in the same order.
        visual_better: label -> whether the visual model is better on the analysis clips.

    Returns:
        Number of clips, fraction of clips per teacher, and fraction of clips routed as the measured gap would.
    """
    agrees = [
        row["visual_teaches"] == visual_better.get(clip["labels"][0], False)
        for row, clip in zip(rows, clips, strict=True)
    ]
    return {
        "clips": len(rows),
        "visual_teaches_fraction": sum(row["visual_teaches"] for row in rows) / len(rows),
        "audio_teaches_fraction": sum(row["audio_teaches"] for row in rows) / len(rows),
        "gap_agreement": sum(agrees) / len(rows),
    }
