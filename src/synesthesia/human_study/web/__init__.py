"""The web server: participant pages, researcher pages, security."""
