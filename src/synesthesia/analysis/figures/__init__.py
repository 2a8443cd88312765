"""Figures of the report: one module a group of figures, `render` writes them."""
