"""Figures of the report: `paper` the paper's, `diagnostics` and `humans` further ones; `render` selects them."""
