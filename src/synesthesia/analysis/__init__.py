"""The report: tables and figures with intervals and tests, and one self-contained HTML page.

`results` loads the stages' outputs, `tables`, `curation_counts`, `vggsounder` and `human_tables` build the CSV tables,
`headline` the main results, `metrics` the numbers that DVC compares, `figures` the figures and `html_report` the page.
`thresholds` checks the metrics in CI. `paper/` holds the paper's own numbers, read by `published`, for comparison.
"""
