"""CIFAR-100 by its 20 superclasses (Krizhevsky, 2009): 50,000 + 10,000 colour images 32x32."""

from nets.data.cifar100 import PUBLISHED
from nets.dataset import DataSet
from nets.formats.cifar import cifar

TRAINING_POINTS = 50_000
TEST_POINTS = 10_000
POINT_SHAPE = (3, 32, 32)

DATASET = DataSet(
    build=cifar(("train",), "test", b"coarse_labels"),
    sha256=None,
    classes=20,
    source="the Python version of https://www.cs.toronto.edu/~kriz/cifar.html, coarse labels",
    published=PUBLISHED,
)
