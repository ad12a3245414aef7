"""Formats of published files."""
