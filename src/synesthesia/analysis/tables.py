"""The report's CSV tables, from a `Study`: shares in [0, 1], differences in [-1, 1], empty where there is no figure."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from synesthesia import schemas, stats
from synesthesia.analysis import curation_counts, vggsounder
from synesthesia.analysis import published as paper
from synesthesia.analysis.results import Results
from synesthesia.stats import Interval

SPLITS = ("analysis", "test", "unseen")


def bootstrap_options(results: Results) -> dict:
    """The bootstrap's settings out of the parameters."""
    report = results.config.report
    return {"samples": report.bootstrap_samples, "seed": report.seed, "confidence": report.confidence}


def interval_columns(interval: Interval | None, name: str = "") -> dict[str, float]:
    """An interval as three cells: `name`, `name_low`, `name_high`; nan (an empty cell) where there is none."""
    values = (interval.estimate, interval.low, interval.high) if interval else (math.nan,) * 3
    cells = dict(zip((name, f"{name}_low", f"{name}_high"), values, strict=True))
    return {key: value if math.isfinite(value) else math.nan for key, value in cells.items()}


def split_accuracy_columns(results: Results, respondent: str, split: str) -> dict:
    """`<split>_accuracy` with its Wilson interval, the number of answers, and how many of them are unparseable."""
    return accuracy_columns(results, results.get_answers(respondent, split), f"{split}_")


def accuracy_columns(results: Results, answers: pd.DataFrame, prefix: str) -> dict:
    """The same cells of any answers (columns correct and choice)."""
    correct, total = int(answers["correct"].sum()), len(answers)
    interval = stats.wilson(correct, total, results.config.report.confidence) if total else None
    cells = interval_columns(interval, f"{prefix}accuracy")
    return cells | {f"{prefix}answers": total, f"{prefix}unparseable": int(answers["choice"].isna().sum())}


def paired_difference(results: Results, split: str, before: str, after: str) -> dict | None:
    """Accuracy before and after on the questions that both answered, with interval (by video) and McNemar's test."""
    pair = results.pair_answers(split, before, after)
    if pair is None:
        return None
    columns = pair[before].to_numpy(), pair[after].to_numpy()
    test = stats.mcnemar(*columns)
    interval = stats.accuracy_difference(*columns, pair["video_id"].to_numpy(), **bootstrap_options(results))
    return {
        "questions": len(pair),
        "before": float(columns[0].mean()),
        "after": float(columns[1].mean()),
        **interval_columns(interval, "difference"),
        "turned_right": test.n_improved,
        "turned_wrong": test.n_worsened,
        "p": test.p_value,
    }


def build_table1(results: Results) -> pd.DataFrame:
    """Table 1: every original model, its default student below it, and humans if any; the paper's figures beside."""
    rows = []
    for person in results.respondents:
        if person.kind == "setting" and person.key != results.find_default_setting(person.setting.student):
            continue
        published = {}
        if person.kind == "model":
            published = paper.get_model_accuracies(results.config.models[person.key].family)
        elif person.kind == "setting":
            published = paper.get_setting_accuracies(person.setting, results.config)
        title = person.title.rsplit(": ", 1)[0] if person.kind == "setting" else person.title
        row = {"respondent": person.key, "title": title, "sense": person.modality}
        row["role"] = {"model": "original", "setting": "distilled", "human": "human", "file": "from a file"}[
            person.kind
        ]
        for split in SPLITS:
            row |= split_accuracy_columns(results, person.key, split)
            if split != "unseen":
                row[f"paper_{split}_accuracy"] = published.get(split, math.nan)
        rows.append(row)
    return pd.DataFrame(rows)


def build_table2(results: Results) -> pd.DataFrame:
    """Table 2: every setting, its difference to the default of the same student, and the paper's figures beside.

    `difference_p` are McNemar's, `difference_p_holm` corrected within one student and split.
    """
    rows = []
    for person in results.respondents:
        if person.kind != "setting":
            continue
        setting, default = person.setting, results.find_default_setting(person.setting.student)
        published = paper.get_setting_accuracies(setting, results.config)
        row = {"setting": person.key, "title": setting.title, "student": setting.student, "teacher": setting.teacher}
        row |= {"labels": setting.labels, "kl": setting.kl, "anti_forgetting": setting.anti_forgetting}
        for split in ("analysis", "test"):
            row |= split_accuracy_columns(results, person.key, split)
            row[f"paper_{split}_accuracy"] = published.get(split, math.nan)
            against = (
                paired_difference(results, split, default, person.key) if default not in (None, person.key) else None
            )
            cells = ("difference", "difference_low", "difference_high", "p")
            for cell in cells:
                row[f"{split}_{cell}"] = against[cell] if against else math.nan
        rows.append(row)
    frame = pd.DataFrame(rows)
    for split in ("analysis", "test") if len(frame) else ():
        frame[f"{split}_p_holm"] = frame.groupby("student")[f"{split}_p"].transform(lambda p: stats.holm_correction(p))
    return frame


def build_before_after_table(results: Results) -> pd.DataFrame:
    """Every setting and split: the student before and after on the same questions."""
    rows = []
    for person in results.respondents:
        for split in SPLITS if person.kind == "setting" else ():
            found = paired_difference(results, split, person.setting.student, person.key)
            if found:
                row = {"setting": person.key, "title": person.setting.title, "student": person.setting.student}
                rows.append(row | {"split": split} | found)
    return pd.DataFrame(rows)


def build_label_table(results: Results) -> pd.DataFrame:
    """One row a label of the analysis clips and of the unseen ones: gap, switch, and the default student's change.

    `audio` and `visual` are the two models of the gap, `after` the audio model distilled by default; `gap` is visual
    minus audio, `switch_closed` the share of the label's finetune clips on which the visual model teaches. The p
    values are McNemar's, Holm-corrected over the labels of one set.
    """
    audio, visual = results.config.measure_gap.audio, results.config.measure_gap.visual
    default = results.find_default_setting(audio)
    frames = []
    for split in ("analysis", "unseen"):
        pair = results.pair_answers(split, audio, visual)
        if pair is None:
            continue
        after = results.pair_answers(split, audio, default) if default else None
        rows = []
        for label, part in pair.groupby("label", sort=True):
            row = {"label": label, "set": split, "clips": len(part)}
            row |= {"audio": part[audio].mean(), "visual": part[visual].mean()}
            row["gap"] = row["visual"] - row["audio"]
            row["gap_p"] = stats.mcnemar(part[audio], part[visual]).p_value
            mine = after[after["label"] == label] if after is not None else None
            changed = mine is not None and len(mine) > 0
            row["after"] = mine[default].mean() if changed else math.nan
            row["gain"] = row["after"] - mine[audio].mean() if changed else math.nan
            row["gain_p"] = stats.mcnemar(mine[audio], mine[default]).p_value if changed else math.nan
            rows.append(row)
        frame = pd.DataFrame(rows)
        for name in ("gap_p", "gain_p"):
            frame[f"{name}_holm"] = stats.holm_correction(frame[name])
        frames.append(frame)
    if not frames:
        return pd.DataFrame()
    frame = pd.concat(frames, ignore_index=True)
    seen = frame["set"] == "analysis"
    frame["visual_better"] = np.where(frame["gap"] > 0, "yes", "no")
    if results.route is not None:
        share = results.route.groupby("label")["visual_teaches"].agg(["mean", "size"])
        frame["switch_closed"] = frame["label"].map(share["mean"]).where(seen)
        frame["finetune_clips"] = frame["label"].map(share["size"]).where(seen).fillna(0).astype(int)
    else:
        frame["switch_closed"], frame["finetune_clips"] = math.nan, 0
    return frame


def build_position_bias_table(results: Results, split: str = "analysis") -> pd.DataFrame:
    """Letters' position bias: for every model and student, how often each letter is true, chosen, and right if true."""
    rows = []
    for person in results.respondents:
        answers = results.get_answers(person.key, split)
        if person.kind == "human" or answers.empty:
            continue
        for index in range(int(answers["answer"].max()) + 1):
            true = answers[answers["answer"] == index]
            interval = stats.wilson(int(true["correct"].sum()), len(true)) if len(true) else None
            row = {"respondent": person.key, "letter": schemas.LETTERS[index], "questions": len(true)}
            row |= {"truth_share": len(true) / len(answers), "chosen_share": float((answers["choice"] == index).mean())}
            rows.append(row | interval_columns(interval, "accuracy"))
    return pd.DataFrame(rows)


def build_switch_table(results: Results) -> pd.DataFrame:
    """How good the switch is on its validation clips and, where it is used, on the finetune clips."""
    rows = []
    for part in ("validation", "finetune"):
        frame = (
            results.switch_predictions[results.switch_predictions["part"] == part]
            if results.switch_predictions is not None
            else ()
        )
        if len(frame):
            row = {"part": part, "clips": len(frame)}
            for name, interval in compute_switch_metrics(results, frame).items():
                row |= interval_columns(interval, name)
            rows.append(row | {"paper_accuracy": round(paper.load_facts()[f"switch_accuracy_{part}"] / 100, 6)})
    return pd.DataFrame(rows)


def compute_switch_metrics(results: Results, frame: pd.DataFrame) -> dict[str, Interval | None]:
    """Accuracy (Wilson), balanced accuracy (by video; None with one class) and that of always answering "visual".

    `frame`: rows of `study.switch`, at least one; closed where the probability exceeds `route.threshold`.
    """
    target = frame["target"].to_numpy(bool)
    decided = frame["visual_better_probability"].to_numpy() > results.config.route.threshold
    confidence = results.config.report.confidence
    return {
        "accuracy": stats.wilson(int((decided == target).sum()), len(target), confidence),
        "balanced_accuracy": stats.balanced_accuracy(
            decided, target, frame["video_id"].to_numpy(), **bootstrap_options(results)
        ),
        "always_one_accuracy": stats.wilson(int(target.sum()), len(target), confidence),
    }


def build_rejected_table(results: Results) -> pd.DataFrame:
    """Files put aside by curate, one row a reason, most frequent first."""
    if results.rejected is None or results.rejected.empty:
        return pd.DataFrame(columns=["reason", "files", "example", "detail"])
    groups = results.rejected.sort_values("file").groupby("reason")
    frame = groups.agg(files=("file", "size"), example=("file", "first"), detail=("detail", "first")).reset_index()
    return frame.sort_values(["files", "reason"], ascending=[False, True], ignore_index=True)


def build_counts_table(results: Results) -> pd.DataFrame:
    """How much there is: questions, labels and videos a split, then what curate counted (nested keys dotted)."""
    rows = []
    for split in schemas.SPLITS:
        part = results.questions[results.questions["split"] == split]
        numbers = {"labels": part["label"].nunique(), "videos": part["video_id"].nunique(), "questions": len(part)}
        rows += [(f"{split} {what}", number) for what, number in numbers.items()]
    rows += [(f"curate.{key}", value) for key, value in flatten(results.curate_counts).items()]
    return pd.DataFrame(rows, columns=["what", "count"])


def flatten(nested: dict, prefix: str = "") -> dict[str, object]:
    """{"a": {"b": 1}} as {"a.b": 1}; lists count their items."""
    flat = {}
    for key, value in nested.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = len(value) if isinstance(value, list) else value
    return flat


def build_accuracy_plot_data(results: Results) -> pd.DataFrame:
    """For `dvc plots`: who ("respondent, split"), respondent, split, accuracy in per cent."""
    rows = [
        {
            "who": f"{person.key}, {split}",
            "respondent": person.key,
            "split": split,
            "accuracy": round(100 * float(answers["correct"].mean()), 3),
        }
        for person in results.respondents
        for split in SPLITS
        if len(answers := results.get_answers(person.key, split))
    ]
    return pd.DataFrame(rows, columns=["who", "respondent", "split", "accuracy"])


def build_gap_plot_data(label_table: pd.DataFrame) -> pd.DataFrame:
    """For `dvc plots`: label, gap and gain in points, of the analysis labels."""
    columns = ["label", "gap", "gain"]
    if label_table.empty:
        return pd.DataFrame(columns=columns)
    label_table = label_table[label_table["set"] == "analysis"][columns]
    return label_table.assign(gap=(100 * label_table["gap"]).round(3), gain=(100 * label_table["gain"]).round(3))


def build_tables(results: Results) -> dict[str, pd.DataFrame]:
    """All tables by file name, in the order of the page."""
    by_label = build_label_table(results)
    return {
        "table1": build_table1(results),
        "table2": build_table2(results),
        "before_after": build_before_after_table(results),
        "labels": by_label,
        "switch": build_switch_table(results),
        "positions": build_position_bias_table(results),
        "letters_and_text": results.letter_agreement,
        "damaged": build_rejected_table(results),
        "rules": curation_counts.build_curation_table(results),
        "vggsounder": vggsounder.build_slice_table(results),
        "counts": build_counts_table(results),
        "plot_accuracy": build_accuracy_plot_data(results),
        "plot_gap": build_gap_plot_data(by_label),
    }
