"""Certified bounds of chains of layers: one file each, with a function `bound` of a chain."""
