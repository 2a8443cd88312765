"""Web server: participant pages, researcher pages, security."""
