"""CIFAR-100 (Krizhevsky, 2009): 50,000 + 10,000 colour images 32x32, 100 classes."""

from nets.dataset import DataSet, Member, Published, PublishedFile
from nets.formats.cifar import cifar

PUBLISHED = Published(
    folder="cifar100",
    mirrors=(
        "https://www.cs.toronto.edu/~kriz/",
        "https://cave.cs.toronto.edu/kriz/",
        "https://dataset.bj.bcebos.com/cifar/",
    ),
    layouts=("cifar-100-python",),
    files=(
        PublishedFile(
            "cifar-100-python.tar.gz",
            "md5:eb9058c3a382ffc7106e4002c42a8d85",
            169_001_437,
            (
                Member("train", "md5:16019d7e3df5f24257cddd939b257f8d"),
                Member("test", "md5:f0ef6b0ae62326f3e7ffdfab6717acfc"),
            ),
        ),
    ),
)

TRAINING_POINTS = 50_000
TEST_POINTS = 10_000
POINT_SHAPE = (3, 32, 32)

DATASET = DataSet(
    build=cifar(("train",), "test", b"fine_labels"),
    sha256=None,
    classes=100,
    source="the Python version of https://www.cs.toronto.edu/~kriz/cifar.html, fine labels",
    published=PUBLISHED,
)
