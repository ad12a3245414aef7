"""Random models, and what is known of their Lipschitz constants without the library."""
