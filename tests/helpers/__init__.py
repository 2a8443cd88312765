"""Shared test code: media files, tiny checkpoints, small studies. No tests here."""
