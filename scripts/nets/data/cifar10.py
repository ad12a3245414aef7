"""CIFAR-10 (Krizhevsky, 2009): 50,000 + 10,000 colour images 32x32, 10 classes."""

from nets.dataset import DataSet, Member, Published, PublishedFile
from nets.formats.cifar import cifar

_TRAIN = tuple(f"data_batch_{number}" for number in range(1, 6))
_TEST = "test_batch"
_MD5 = (
    "c99cafc152244af753f735de768cd75f",
    "d4bba439e000b95fd0a9bffe97cbabec",
    "54ebc095f3ab1f0389bbae665268c751",
    "634d18415352ddfa80567beed471001a",
    "482c414d41f54cd18b22e5b47cb7c3cb",
    "40351d587109b95175f43aff81a1287e",
)

PUBLISHED = Published(
    folder="cifar10",
    mirrors=(
        "https://www.cs.toronto.edu/~kriz/",
        "https://cave.cs.toronto.edu/kriz/",
        "https://dataset.bj.bcebos.com/cifar/",
    ),
    layouts=("cifar-10-batches-py",),
    files=(
        PublishedFile(
            "cifar-10-python.tar.gz",
            "md5:c58f30108f718f92721af3b95e74349a",
            170_498_071,
            tuple(Member(name, f"md5:{md5}") for name, md5 in zip((*_TRAIN, _TEST), _MD5, strict=True)),
        ),
    ),
)

TRAINING_POINTS = 50_000
TEST_POINTS = 10_000
POINT_SHAPE = (3, 32, 32)

DATASET = DataSet(
    build=cifar(_TRAIN, _TEST, b"labels"),
    sha256="077789cd0c70b7584290989db651b627f0e328faae1abd7c1fed86e362183864",
    classes=10,
    source="the Python version of https://www.cs.toronto.edu/~kriz/cifar.html",
    published=PUBLISHED,
)
