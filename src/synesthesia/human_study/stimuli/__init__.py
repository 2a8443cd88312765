"""Media files that participants hear and see."""
