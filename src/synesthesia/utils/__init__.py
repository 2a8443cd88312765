"""Helpers without knowledge of the study: files, hashes, devices, processes."""
