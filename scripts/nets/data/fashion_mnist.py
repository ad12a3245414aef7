"""Fashion-MNIST (Xiao, Rasul & Vollgraf, 2017): 60,000 + 10,000 images 28x28, 10 classes."""

from nets.dataset import DataSet, Member, Published, PublishedFile
from nets.formats.idx import MEMBERS, mnist_like

_FILES = {
    "train-images-idx3-ubyte": ("md5:8d4fb7e6c68d591d4c3dfef9ec88bf0d", 26_421_880),
    "train-labels-idx1-ubyte": ("md5:25c81989df183df01b3e8a0aad5dffbe", 29_515),
    "t10k-images-idx3-ubyte": ("md5:bef4ecab320f06d8554ea6380940ec79", 4_422_102),
    "t10k-labels-idx1-ubyte": ("md5:bb300cfdad3c16e7a12a480ee83cd310", 5_148),
}

PUBLISHED = Published(
    folder="fashion_mnist",
    mirrors=(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    ),
    layouts=("FashionMNIST/raw",),
    files=tuple(PublishedFile(f"{name}.gz", *_FILES[name], (Member(name),)) for name in MEMBERS),
)

TRAINING_POINTS = 60_000
TEST_POINTS = 10_000
POINT_SHAPE = (1, 28, 28)

DATASET = DataSet(
    build=mnist_like,
    sha256=None,
    classes=10,
    source="the four IDX files of https://github.com/zalandoresearch/fashion-mnist",
    published=PUBLISHED,
)
