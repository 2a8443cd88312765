"""The report: the study's tables and figures with intervals and tests, and one page that stands alone.

`study` reads what the stages wrote, `tabulate` makes the CSV tables, `headline` the few figures that matter most,
`metrics` the numbers that DVC compares, `diagnostics` the figures that the paper does not have, `page` the HTML,
`bounds` guards the metrics in CI. `paper/` holds the paper's own figures, to stand beside ours.
"""
