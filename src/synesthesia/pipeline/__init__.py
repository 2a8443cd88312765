"""The DVC stages: each module reads parameters and paths, runs one step, and writes its outputs below `out/`."""
