"""Numbers that the papers print and more than one of our pages stands beside."""

TABLE_S3 = {
    0: (0.369, 0.165),
    1000: (1.336, 0.865),
    2000: (3.762, 2.752),
    3000: (5.775, 4.257),
    4000: (7.142, 5.120),
    5000: (7.974, 5.591),
    10000: (9.928, 6.361),
    50000: (19.390, 8.840),
}
"""C_lower and C_alt.lower by epoch, one seed (Khromov & Singh, ICLR 2024, Table S3)."""

GRADIENT_NORM_AT_THE_END = 0.01
"""Where the comparison of optimisers ends a training: for Adam after 1,100 epochs, for SGD after
83,000 (Khromov & Singh, ICLR 2024, section S2.6.13)."""
