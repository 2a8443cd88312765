"""Which labels stay, and what the prompt calls them.

The paper keeps 286 of VGGSound's 309 labels and does not say which. Exactly 23 names list several things, with a comma
("race car, auto racing"); without them 286 remain. The paper's prompt says "police car" for `police car (siren)`, so
names are cleaned by a table (`curate.display_names`) as well. Both rules are parameters.
"""

from __future__ import annotations

from collections.abc import Mapping

from synesthesia.data.catalogs.rows import ListRow


def filter_labels(
    rows: list[ListRow], drop_several_names: bool, display_names: Mapping[str, str]
) -> tuple[list[ListRow], dict[str, int]]:
    """Rows whose label stays, under its display name; and the counts before and after."""
    labels = {label for row in rows for label in row.labels}
    several = {label for label in labels if "," in label} if drop_several_names else set()
    kept = [row for row in rows if several.isdisjoint(row.labels)]
    renamed = (labels - several) & display_names.keys()
    shown = [row if renamed.isdisjoint(row.labels) else _rename_labels(row, display_names) for row in kept]
    counts = {
        "labels_listed": len(labels),
        "labels_with_several_names": len(several),
        "labels_renamed": len(renamed),
        "labels": len({label for row in shown for label in row.labels}),
        "clips_of_labels_with_several_names": len(rows) - len(kept),
    }
    return shown, counts


def _rename_labels(row: ListRow, display_names: Mapping[str, str]) -> ListRow:
    return row._replace(labels=tuple(dict.fromkeys(display_names.get(label, label) for label in row.labels)))
