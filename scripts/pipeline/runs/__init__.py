"""The runs: which there are, where they lie, how they are trained and read."""
