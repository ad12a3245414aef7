"""Intervals and growth, from tidy tables."""
