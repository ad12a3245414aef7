"""MNIST (LeCun, Bottou, Bengio & Haffner, Proc. IEEE 1998): 60,000 + 10,000 images 28x28, 10 classes."""

from nets.dataset import DataSet, Member, Published, PublishedFile
from nets.formats.idx import mnist_like

PUBLISHED = Published(
    folder="mnist",
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        "https://dataset.bj.bcebos.com/mnist/",
        "http://yann.lecun.com/exdb/mnist/",
    ),
    layouts=("MNIST/raw",),
    files=(
        PublishedFile(
            "train-images-idx3-ubyte.gz",
            "sha256:440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            9_912_422,
            (
                Member(
                    "train-images-idx3-ubyte",
                    "sha256:ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
                ),
            ),
        ),
        PublishedFile(
            "train-labels-idx1-ubyte.gz",
            "sha256:3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            28_881,
            (
                Member(
                    "train-labels-idx1-ubyte",
                    "sha256:65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
                ),
            ),
        ),
        PublishedFile(
            "t10k-images-idx3-ubyte.gz",
            "sha256:8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            1_648_877,
            (
                Member(
                    "t10k-images-idx3-ubyte",
                    "sha256:0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
                ),
            ),
        ),
        PublishedFile(
            "t10k-labels-idx1-ubyte.gz",
            "sha256:f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            4_542,
            (
                Member(
                    "t10k-labels-idx1-ubyte",
                    "sha256:ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
                ),
            ),
        ),
    ),
)

TRAINING_POINTS = 60_000
TEST_POINTS = 10_000
POINT_SHAPE = (1, 28, 28)

DATASET = DataSet(
    build=mnist_like,
    sha256="856aee0b39b53686da7fb1802de0ac8d3ced819dd5008d01330e5b44eb452741",
    classes=10,
    source="the four IDX files of http://yann.lecun.com/exdb/mnist",
    published=PUBLISHED,
)
