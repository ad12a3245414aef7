"""Lipschitz bounds of neural networks, and the training engine of the papers. Plain PyTorch."""
