"""Experimental design: which clips, which trials, in which order, for whom."""
