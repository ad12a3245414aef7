"""What is trained: data, families of nets, training. Plain PyTorch."""
