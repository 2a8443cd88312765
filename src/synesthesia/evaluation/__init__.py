"""Asking questions: local models, remote models, and answers imported from CSV files."""
