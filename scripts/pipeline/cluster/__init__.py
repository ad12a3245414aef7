"""Jobs of a scheduler: handing over, and what becomes of them. Imports the standard library alone."""
