"""Training of stacked nets by plain stochastic gradient descent."""
