"""Label rules: which labels are kept, and their names in the prompt.

The paper keeps 286 of VGGSound's 309 labels and does not list them. Exactly 23 labels contain several names, separated
by a comma ("race car, auto racing"); without them, 286 remain. The paper's prompt says "police car" for
`police car (siren)`, so a table also replaces names (`curate.display_names`). Both rules are parameters.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable, Mapping

from synesthesia.data.catalogs.rows import CatalogError, ListRow

_OUTER_MARKS = " .,:;!?'\"`"
_SEPARATORS = re.compile(r"[\s_\-\u2010-\u2013]+")


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

    Raises:
        CatalogError: A display name is for a label that is not in the list, or two labels read alike.
    """
    labels = {label for row in rows for label in row.labels}
    _check_display_names(labels, display_names)
    dropped_labels = {label for label in labels if "," in label} if drop_multi_name_labels else set()
    remaining = [row for row in rows if dropped_labels.isdisjoint(row.labels)]
    renamed = (labels - dropped_labels) & display_names.keys()
    output = [row if renamed.isdisjoint(row.labels) else _rename_labels(row, display_names) for row in remaining]
    check_distinct({label for row in output for label in row.labels})
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


def check_distinct(labels: Iterable[str]) -> None:
    """Check that no two labels read alike, because both would become options of one question.

    Args:
        labels: The labels.

    Raises:
        CatalogError: Two labels differ only in case, blanks, hyphens, or marks around them.
    """
    spellings: dict[str, str] = {}
    for label in sorted(labels):
        folded = unicodedata.normalize("NFKC", label).casefold().strip(_OUTER_MARKS)
        words = _SEPARATORS.sub(" ", folded) or label
        first = spellings.setdefault(words, label)
        if first is not label:
            raise CatalogError(
                f"the labels {first!r} and {label!r} read alike, but would be two options of one question: spell them "
                "alike in the list, or name both alike in curate.display_names"
            )


def _check_display_names(labels: set[str], display_names: Mapping[str, str]) -> None:
    for name in display_names:
        if name not in labels:
            closest = difflib.get_close_matches(name.casefold(), {label.casefold() for label in labels}, 1, 0.0)
            match = min((label for label in labels if label.casefold() in closest), default="")
            raise CatalogError(
                f"curate.display_names renames {name!r}, which is not a label of the list; the closest one is "
                f"{match!r}: correct the entry in params.yaml, or remove it"
            )
