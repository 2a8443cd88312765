"""Helpers that know nothing about the study: files, hashes, devices, processes, schedules, and sandboxed workers."""
