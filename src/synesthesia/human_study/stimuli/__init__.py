"""Media files for participants."""
