"""One file per kind of label noise."""
