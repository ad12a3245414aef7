"""Jobs of a scheduler: handing them over, and what becomes of them. Imports the standard library alone."""
