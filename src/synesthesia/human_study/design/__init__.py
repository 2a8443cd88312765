"""Experimental design: materials, trial plan, assignment of trials, session steps."""
