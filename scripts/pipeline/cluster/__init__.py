"""Jobs of a scheduler: handing them over, and what has become of them. Imports the standard library alone."""
