"""The visual language of all figures, and panels that several share."""
