"""Humans beside the models: accuracy on the labels they judged, their gap against the models' gap, response times.

All of it is empty where nobody has judged. Shares are in [0, 1], differences and correlations in [-1, 1], times in
seconds. Whose gap is compared is `report.compare`: two respondents, humans or not. Labels of Figure 1 were chosen for
the models' gap on the analysis clips, so that gap is flattered on these very labels; therefore each correlation stands
there twice, with the gap that chose the labels (as in the paper) and with the models' gap on test clips, which chose
nothing.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from synesthesia import stats
from synesthesia.analysis import published
from synesthesia.analysis.figures import paper
from synesthesia.analysis.results import Respondent, Results
from synesthesia.analysis.tables import accuracy_columns, bootstrap_options, interval_columns, paired_difference
from synesthesia.schemas import LETTERS

TIE, AUDIO_BETTER, VISUAL_BETTER = "On a par", "Audio better", "Visual better"  # as `figures.regimes` names them


def has_human_results(results: Results) -> bool:
    """Whether there is anything to say: a human has answered, or both respondents of `report.compare` have."""
    return any(person.kind == "human" for person in results.respondents) or bool(len(build_human_label_table(results)))


def get_human_split(results: Results) -> str:
    """The split on which humans were asked: analysis, as in the paper, or test where they answered only that."""
    names = [p.key for p in results.respondents if p.kind == "human"]
    compare = results.config.report.reference_gap
    names += [compare.audio, compare.visual] if compare else []
    return "analysis" if any(len(results.get_answers(name, "analysis")) for name in names) else "test"


def get_human_labels(results: Results) -> list[str]:
    """Labels of which some human judged a clip; with no human, those that both of `report.compare` answered."""
    split = get_human_split(results)
    mine = {x for p in results.respondents if p.kind == "human" for x in results.get_answers(p.key, split)["label"]}
    return sorted(mine or set(build_human_label_table(results).get("label", [])))


def build_human_label_table(results: Results) -> pd.DataFrame:
    """One row a label that both respondents of `report.compare` judged, in the order of the models' gap.

    label; regime (of the models' gap, as in Figure 1); compared_audio, compared_visual with their numbers of clips;
    compared_gap; models_audio, models_visual, models_gap (analysis clips); models_gap_test; agrees: whether the
    compared gap has the sign that the regime says ("yes", "no", "tie"; empty on a par).
    """
    compare, given = results.config.report.reference_gap, results.config.measure_gap
    models = results.pair_answers("analysis", given.audio, given.visual)
    if compare is None or models is None:
        return pd.DataFrame()
    split = (
        "analysis"
        if len(results.get_answers(compare.audio, "analysis")) and len(results.get_answers(compare.visual, "analysis"))
        else "test"
    )
    sides = {
        s: results.get_answers(getattr(compare, s), split).groupby("label")["correct"] for s in ("audio", "visual")
    }
    columns = {f"compared_{side}": group.mean() for side, group in sides.items()}
    columns |= {f"compared_{side}_clips": group.size() for side, group in sides.items()}
    frame = pd.DataFrame(columns).dropna()
    mean = models.groupby("label")[[given.audio, given.visual]].mean()
    frame = frame.join(mean.set_axis(["models_audio", "models_visual"], axis=1), how="inner")
    if frame.empty:
        return pd.DataFrame()
    frame["compared_gap"] = frame["compared_visual"] - frame["compared_audio"]
    frame["models_gap"] = frame["models_visual"] - frame["models_audio"]
    fresh = results.pair_answers("test", given.audio, given.visual)
    by_label = fresh.groupby("label")[[given.audio, given.visual]].mean() if fresh is not None else None
    frame["models_gap_test"] = (by_label[given.visual] - by_label[given.audio]) if fresh is not None else math.nan
    frame = frame.rename_axis("label").reset_index()
    rows = paper.group_labels(frame.rename(columns={"models_audio": "audio", "models_visual": "visual"}), len(frame))
    regime = {label: name for name, names in rows.items() for label in names}
    frame["regime"] = frame["label"].map(regime)
    sign = np.sign(frame["compared_gap"].round(12)) * frame["regime"].map({TIE: 0, AUDIO_BETTER: -1, VISUAL_BETTER: 1})
    frame["agrees"] = sign.map({1.0: "yes", -1.0: "no", 0.0: "tie"}).where(frame["regime"] != TIE, "")
    frame = frame.sort_values(["models_gap", "label"], ascending=[False, True], ignore_index=True)
    for side in ("audio", "visual"):
        frame[f"compared_{side}_clips"] = frame[f"compared_{side}_clips"].astype(int)
    return frame


def build_agreement_table(results: Results, label_table: pd.DataFrame) -> pd.DataFrame:
    """The paper's agreement counts: of how many labels it holds, ties apart, Wilson's interval, the paper's count.

    A tie (equally many right) is no agreement: it counts in `of`, not in `count`.
    """
    if label_table.empty:
        return pd.DataFrame()
    compare, given, facts = results.config.report.reference_gap, results.config.measure_gap, published.load_facts()
    eyes, ears = results.get_title(compare.visual), results.get_title(compare.audio)
    seen, heard = (
        label_table[label_table["regime"] == VISUAL_BETTER],
        label_table[label_table["regime"] == AUDIO_BETTER],
    )
    short = (seen["compared_audio"] - seen["models_audio"]).round(12)
    wanted = [
        (f"{eyes} above {ears} where {results.get_title(given.visual)} leads", (seen["agrees"] == "yes").sum(),
         (seen["agrees"] == "tie").sum(), len(seen), "human_eyes_ahead_where_visual_leads"),
        (f"{ears} above {eyes} where {results.get_title(given.audio)} leads", (heard["agrees"] == "yes").sum(),
         (heard["agrees"] == "tie").sum(), len(heard), "human_ears_ahead_where_audio_leads"),
        (f"{ears} above {results.get_title(given.audio)} where {results.get_title(given.visual)} leads", (short > 0).sum(),
         (short == 0).sum(), len(seen), "human_ears_ahead_of_model_where_visual_leads"),
    ]  # fmt: skip
    rows = []
    for key, (what, count, ties, of, fact) in zip(("eyes", "ears", "ears_above_model"), wanted, strict=True):
        interval = stats.wilson(int(count), of, results.config.report.confidence) if of else None
        row = {"key": key, "what": what, "count": int(count), "ties": int(ties), "of": of}
        row |= interval_columns(interval, "share") | {
            "paper_count": facts[fact],
            "paper_of": facts["human_labels_a_regime"],
        }
        rows.append(row)
    return pd.DataFrame(rows)


def build_correlation_table(results: Results, label_table: pd.DataFrame) -> pd.DataFrame:
    """Pearson's and Spearman's correlation of the two label-wise gaps, resampled by label, on either models' gap."""
    rows = []
    for split, column in (("analysis", "models_gap"), ("test", "models_gap_test")) if len(label_table) else ():
        both = label_table.dropna(subset=[column])
        for kind in ("pearson", "spearman"):
            x, y = both[column].to_numpy(), both["compared_gap"].to_numpy()
            interval = stats.correlation(x, y, kind, **bootstrap_options(results))
            row = {"models_gap_on": split, "kind": kind, "labels": len(both)}
            rows.append(row | interval_columns(interval, "correlation"))
    return pd.DataFrame(rows)


def _find_matching_model(results: Results, respondent: Respondent) -> str | None:
    """The model of the same sense: that of the gap, or the first audio-visual one."""
    given = {"audio": results.config.measure_gap.audio, "visual": results.config.measure_gap.visual}
    others = [p.key for p in results.respondents if p.kind == "model" and p.modality == respondent.modality]
    return given.get(respondent.modality, others[0] if others else None)


def build_respondent_table(results: Results) -> pd.DataFrame:
    """Everybody's accuracy on the labels that humans judged, the paper's beside; humans against their sense's model.

    Models: on all clips of these labels in the judged split; others: on what they judged. `difference` is human minus
    model on the questions that both answered, by video; `p` McNemar's.
    """
    split, wanted, rows = get_human_split(results), get_human_labels(results), []
    for person in results.respondents:
        mine = results.get_answers(person.key, split)
        mine = mine[mine["label"].isin(wanted)]
        if person.kind == "setting" or mine.empty:
            continue
        family = results.config.models[person.key].family if person.kind == "model" else person.kind
        condition = results.config.get_respondent(person.key).condition
        row = {"respondent": person.key, "title": person.title, "sense": person.modality, "split": split}
        row |= {"labels": mine["label"].nunique(), **accuracy_columns(results, mine, "")}
        row["paper_accuracy"] = published.get_figure1_accuracy(family, condition)
        other = _find_matching_model(results, person) if person.kind == "human" else None
        against = paired_difference(results, split, other, person.key) if other else None
        row["against"] = results.get_title(other) if against else ""
        for cell in ("difference", "difference_low", "difference_high", "p"):
            row[cell] = against[cell] if against else math.nan
        rows.append(row)
    return pd.DataFrame(rows)


def build_response_table(results: Results) -> pd.DataFrame:
    """Per respondent from a file: participants, what was left out, response times (by participant), kappa (by video).

    `seconds` is the median, `seconds_quarter` and `seconds_three_quarters` the quartiles. Kappa is Fleiss' over the
    letters chosen for clips judged more than once; letters are shuffled anew for each clip, so chance is near one in
    ten. Careless participants are in `careless_participants` alone where `collect.careless` is `leave_out`.
    """
    leave_out, rows = results.config.import_answers.inattentive == "leave_out", []
    for person in results.respondents:
        all_of_it = results.responses.get(person.key)
        if all_of_it is None or all_of_it.empty:
            continue
        careless = all_of_it["careless"].to_numpy(bool)
        frame = all_of_it[~careless] if leave_out else all_of_it
        row = {"respondent": person.key, "title": person.title, "participants": frame["participant"].nunique()}
        row |= {"judgements": len(frame), "careless_participants": all_of_it["participant"][careless].nunique()}
        row |= {"careless_judgements": int(careless.sum()), "no_choice": int(frame["choice"].isna().sum())}
        rows.append(row | _response_time_columns(results, frame) | _kappa_columns(results, frame))
    return pd.DataFrame(rows)


def _response_time_columns(results: Results, frame: pd.DataFrame) -> dict:
    timed = frame[frame["seconds"].notna()]
    found = [None] * 3
    if len(timed):
        found = stats.bootstrap_quantiles(
            timed["seconds"], timed["participant"], (0.5, 0.25, 0.75), **bootstrap_options(results)
        )
    cells = interval_columns(found[0], "seconds")
    for name, quartile in zip(("seconds_quarter", "seconds_three_quarters"), found[1:], strict=True):
        cells[name] = quartile.estimate if quartile else math.nan
    right = timed[timed["correct"]]["seconds"]
    return cells | {"seconds_right": right.median() if len(right) else math.nan}


def _kappa_columns(results: Results, frame: pd.DataFrame) -> dict:
    chosen = frame[frame["choice"].notna()]
    table = pd.crosstab(chosen["question_id"], chosen["choice"].astype(int))
    table = table.reindex(columns=range(len(LETTERS)), fill_value=0)
    twice = table[table.sum(axis=1) >= 2]
    interval = None
    if len(twice):
        videos = results.questions.loc[twice.index, "video_id"].to_numpy()
        interval = stats.fleiss_kappa(twice.to_numpy(), videos, **bootstrap_options(results))
    return {"judged_often": len(twice)} | interval_columns(interval, "kappa")


def build_human_notes(results: Results, tables: dict[str, pd.DataFrame]) -> list[str]:
    """Where the labels come from, and what counts, in sentences for the page."""
    split, wanted, collect = get_human_split(results), get_human_labels(results), results.config.import_answers
    plan = getattr(results.config, "study", None)  # the browser study's own block
    number = getattr(plan, "labels_a_regime", results.config.report.labels_per_group)
    if getattr(plan, "labels", None):
        chosen = f"{len(wanted)} labels were judged, on {split} clips: those of study.labels. If the gap chose them: "
    else:
        par = f"{100 * paper.TIE_TOLERANCE:.0f} points"
        chosen = (
            f"{len(wanted)} labels were judged, on {split} clips. The browser study takes its labels by the models' "
            f"performance alone, without any knowledge of the humans': up to {number} where both models of the gap are "
            f"on a par (at most {par} apart), and as many each where one of them leads most, on the analysis clips. "
        )
    warning = (
        "Labels with an extreme gap were in part picked for their luck: measured again, the models' gap on them "
        "shrinks (regression to the mean), and a range so widened makes a correlation higher than over labels taken at "
        "random. The gap on test clips, which chose nothing, stands beside for that reason."
    )
    several = {
        "draw": "A clip judged more than once counts once: one of its judgements, drawn at random.",
        "majority": "A clip judged more than once counts once: with the option most often chosen.",
    }[collect.aggregation]
    frame = tables["judgements"]
    lost = int(frame["careless_judgements"].sum()) if len(frame) else 0
    names = {x for f in results.responses.values() for x in f["participant"][f["careless"].astype(bool)]}
    people = "participant" if len(names) == 1 else "participants"
    many = f"{lost} judgements of {len(names)} {people} called careless by the study's stated rules"
    rule = f"{many} are left out." if collect.inattentive == "leave_out" else f"{many} are kept in (collect.careless)."
    return [chosen + warning, f"{several} {rule}"]


def build_human_tables(results: Results) -> dict[str, pd.DataFrame]:
    """The tables by file name; an empty dict where nobody has judged."""
    if not has_human_results(results):
        return {}
    frame = build_human_label_table(results)
    return {
        "humans": build_respondent_table(results),
        "judgements": build_response_table(results),
        "human_labels": frame,
        "human_counts": build_agreement_table(results, frame),
        "human_correlations": build_correlation_table(results, frame),
    }


def build_human_metrics(tables: dict[str, pd.DataFrame]) -> dict:
    """What DVC compares: correlations, counts and medians, without what is absent."""
    found: dict = {}
    for row in tables.get("human_correlations", pd.DataFrame()).to_dict("records"):
        if math.isfinite(row["correlation"]):
            found.setdefault("gap_correlation", {}).setdefault(row["models_gap_on"], {})[row["kind"]] = row[
                "correlation"
            ]
    for row in tables.get("human_counts", pd.DataFrame()).to_dict("records"):
        found.setdefault("agreement", {})[row["key"]] = {"count": float(row["count"]), "of": float(row["of"])}
    for row in tables.get("judgements", pd.DataFrame()).to_dict("records"):
        cells = {"judgements": float(row["judgements"]), "median_seconds": row["seconds"], "kappa": row["kappa"]}
        found[row["respondent"]] = {key: value for key, value in cells.items() if math.isfinite(value)}
    return found
