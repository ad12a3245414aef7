"""What studies of several rooms measure with."""
