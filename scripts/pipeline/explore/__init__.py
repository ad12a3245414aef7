"""The results as one page to explore: figures with their numbers, runs by seed, claims, facts."""
