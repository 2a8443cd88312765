"""Label rules: which labels are kept, and their names in the prompt.

The paper keeps 286 of VGGSound's 309 labels and does not list them. Exactly 23 labels contain several names, separated
by a comma ("race car, auto racing"); without them, 286 remain. The paper's prompt says "police car" for
`police car (siren)`, so a table also replaces names (`curate.display_names`). Both rules are parameters.
"""

from __future__ import annotations

from collections.abc import Mapping

from synesthesia.data.catalogs.rows import ListRow


def filter_labels(
    rows: list[ListRow], drop_multi_name_labels: bool, display_names: Mapping[str, str]
) -> tuple[list[ListRow], dict[str, int]]:
    """Drop labels with several names and apply display names.

    Args:
        rows: Rows of a list.
        drop_multi_name_labels: Drop every row with a label that contains a comma.
        display_names: Replacement names by listed label.

    Returns:
        The remaining rows with display names, and the counts of labels and clips before and after.
    """
    labels = {label for row in rows for label in row.labels}
    dropped_labels = {label for label in labels if "," in label} if drop_multi_name_labels else set()
    remaining = [row for row in rows if dropped_labels.isdisjoint(row.labels)]
    renamed = (labels - dropped_labels) & display_names.keys()
    output = [row if renamed.isdisjoint(row.labels) else _rename_labels(row, display_names) for row in remaining]
    counts = {
        "labels_listed": len(labels),
        "labels_with_multiple_names": len(dropped_labels),
        "labels_renamed": len(renamed),
        "labels": len({label for row in output for label in row.labels}),
        "clips_of_multi_name_labels": len(rows) - len(remaining),
    }
    return output, counts


def _rename_labels(row: ListRow, display_names: Mapping[str, str]) -> ListRow:
    return row._replace(labels=tuple(dict.fromkeys(display_names.get(label, label) for label in row.labels)))
