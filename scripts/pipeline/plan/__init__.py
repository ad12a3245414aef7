"""What a call will cost, before anything runs."""
