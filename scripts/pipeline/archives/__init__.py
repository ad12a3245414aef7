"""Archives of finished runs: what belongs to one, how it is packed, redrawn and compared."""
