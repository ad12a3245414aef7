"""Files, fingerprints of code, and the JSON beside each figure."""
