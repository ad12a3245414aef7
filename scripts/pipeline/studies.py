"""Settings of the studies: figures that need bounds or small nets, but no experiment's training.

A study is one job, ``scripts/study_NAME.py``, that writes one tidy table. Nothing heavy is imported
here: the Snakefile reads this module on every call.
"""

from typing import Annotated, Generic, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

# The settings themselves are parameters of the rules, so a new key here rebuilds nothing.
AFFECTS_RESULTS = False  # see pipeline.fingerprint


def _odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError(f"{value} is even; kernels that keep the input's size have odd lengths")
    return value


Count = Annotated[int, Field(strict=True, ge=1)]
OddCount = Annotated[int, Field(strict=True, ge=1), AfterValidator(_odd)]
NonNegative = Annotated[int, Field(strict=True, ge=0)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Factor = Annotated[float, Field(gt=0, le=1)]
Device = Literal["auto", "cpu", "cuda"]


class Settings(BaseModel):
    """Settings of one study at one scale."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SeqlipIdeal(Settings):
    """AutoLip against SeqLip for random weights with given singular values."""

    layers: Count = Field(description="largest number of linear layers; one point for each from 1 on")
    width: Count = Field(description="width of the hidden layers")
    ratios: tuple[Annotated[float, Field(ge=0, le=1)], ...] = Field(
        min_length=1, description="ratio of all other singular values to the leading ones"
    )
    leading: Count = Field(description="number of unit singular values (figure: 1; released default: 5)")
    draws: Count = Field(description="independent draws of the weights (the paper: one, without a seed)")
    searches: tuple[Literal["alternating", "greedy"], ...] = Field(
        min_length=1,
        description="searches for the pair factors; greedy: the best single flips (the paper); "
        "alternating: singular vectors and the best vertex for them in turn",
    )
    seed: NonNegative = Field(description="seed of the weights")


class GramConvergence(Settings):
    """Gram iteration and power iteration on dense matrices, step by step."""

    rows: Count = Field(description="rows of the Gaussian matrices, whose top singular value is simple")
    columns: Count = Field(description="columns of the Gaussian matrices")
    orthogonal_size: Count = Field(
        description="size of the orthogonal matrices, whose singular values are all 1"
    )
    draws: Count = Field(description="independent draws of either matrix")
    starts: Count = Field(description="start vectors of the power iteration, for each draw")
    gram_steps: Count = Field(description="largest number of Gram products")
    power_steps: Count = Field(description="largest number of steps of the power iteration")
    repeats: Count = Field(description="timed calls after one that does not count, on the first draw")
    device: Device = Field(description="where to compute, and measure time; auto: CUDA if there is one")
    seed: NonNegative = Field(description="seed of the matrices; the first draw has it itself")


class ConvolutionCase(Settings):
    """One random kernel that stands in the table besides the sweeps."""

    channels: Count = Field(description="channels of input and output")
    kernel_size: OddCount = Field(description="length of the kernel along both axes")
    input_size: Count = Field(description="length of the input along both axes")
    scale: PositiveFloat = Field(description="the standard normal kernel is divided by this")
    seed: NonNegative = Field(description="seed of the kernel")


class ConvNorms(Settings):
    """Norms of convolutions by every method: how far from the truth, and how long."""

    channels: Count = Field(description="channels of input and output where they are not swept")
    kernel_size: OddCount = Field(description="length of the kernel where it is not swept")
    input_size: Count = Field(description="length of the input along both axes where it is not swept")
    sweep_channels: tuple[Count, ...] = Field(min_length=1, description="numbers of channels")
    sweep_kernel_sizes: tuple[OddCount, ...] = Field(min_length=1, description="lengths of the kernel")
    sweep_input_sizes: tuple[Count, ...] = Field(min_length=1, description="lengths of the input")
    cases: tuple[ConvolutionCase, ...] = Field(description="kernels with published values")
    draws: Count = Field(description="independent Gaussian kernels for each point of a sweep")
    gram_steps: Count = Field(description="products of Gram iteration (circular padding)")
    norm2toep_steps: Count = Field(description="products of norm2toep (zero padding)")
    power_steps: Count = Field(description="power steps with the convolution (Farnia; Ryu)")
    singla_steps: Count | None = Field(
        description="power steps for each unfolding (Singla & Feizi); null: singular values"
    )
    araujo_samples: Count = Field(description="points per axis of the grid (Araujo)")
    reference_steps: Count = Field(
        description="largest number of Lanczos steps, in float64, for the zero-padded norm"
    )
    repeats: Count = Field(description="timed calls after one that does not count")
    time_budget: PositiveFloat = Field(description="seconds after which a call is not repeated")
    device: Device = Field(description="where to compute, and measure time; auto: CUDA if there is one")
    seed: NonNegative = Field(description="seed of the kernels of the sweeps")


class Tightness(Settings):
    """Every bound against AutoLip, on random and on trained fully connected nets."""

    random_nets: tuple[tuple[Count, ...], ...] = Field(
        description="sizes of the nets with random weights (normal, variance 1 / fan-in), no biases"
    )
    draws: Count = Field(description="independent draws of each random net")
    trained_nets: tuple[tuple[Count, ...], ...] = Field(
        description="hidden sizes of the nets trained on MNIST-1D"
    )
    trainings: Count = Field(description="independent trainings of each trained net")
    epochs: Count = Field(description="epochs of Adam, cross-entropy")
    batch_size: Count = Field(description="points per update")
    learning_rate: PositiveFloat = Field(description="learning rate of Adam")
    points: Count = Field(description="normal points at which a random net's Jacobian is taken")
    exact_neurons: Annotated[int, Field(strict=True, ge=0, le=20)] = Field(
        description="most hidden neurons in all for the exact maximum, and most neurons of a layer "
        "for exact SeqLip: 2^n vertices are enumerated"
    )
    greedy_neurons: NonNegative = Field(description="most hidden neurons for greedy SeqLip")
    descent_neurons: NonNegative = Field(description="most hidden neurons for LipSDP by descent")
    solver: Annotated[bool, Field(strict=True)] = Field(
        description="whether to run LipSDP by a semidefinite solver; left out without cvxpy"
    )
    solver_neurons: Annotated[int, Field(strict=True, ge=0, le=250)] = Field(
        description="most hidden neurons for LipSDP by the solver (200: some minutes each)"
    )
    seed: NonNegative = Field(description="root of all seeds of the study")


class SeqlipMlp(Settings):
    """Bounds of nets of several depths, trained on a draw of a Gaussian process on the plane."""

    depths: tuple[Annotated[int, Field(strict=True, ge=2)], ...] = Field(
        min_length=1, description="numbers of linear layers"
    )
    width: Annotated[int, Field(strict=True, ge=1, le=22)] = Field(
        description="width of the hidden layers (not printed in the paper)"
    )
    trainings: Count = Field(description="independent initialisations per depth")
    points: Count = Field(description="training points, normal, of the standard deviation spread")
    spread: PositiveFloat = Field(description="standard deviation of the training points (a guess)")
    length_scale: PositiveFloat = Field(
        description="length scale of the process, of squared exponential covariance and variance 1"
    )
    epochs: Count = Field(description="epochs of Adam, mean squared error")
    batch_size: Count = Field(description="points per update")
    learning_rate: PositiveFloat = Field(description="learning rate of Adam")
    exact_depths: tuple[Count, ...] = Field(
        description="depths whose pair factors are found by enumeration of 2^width vertices too"
    )
    grid_half_side: PositiveFloat = Field(description="the grid covers [-this, this]^2")
    grid_points: Count = Field(description="points of the grid on each side")
    annealing_walks: Count = Field(description="walks of simulated annealing, from the steepest points")
    annealing_steps: Count = Field(description="steps of each walk")
    seed: NonNegative = Field(description="root of all seeds of the study")


class Padding(Settings):
    """Bounds of zero-padded convolutions from circular ones."""

    counterexample_sizes: tuple[Count, ...] = Field(
        min_length=1, description="lengths of the input for the kernel q q^T with q = (1, -1, 1)"
    )
    channels: Count = Field(description="channels of input and output of the Gaussian kernels")
    kernel_size: OddCount = Field(description="length of the Gaussian kernels along both axes")
    input_sizes: tuple[Count, ...] = Field(
        min_length=1, description="lengths of the input for them; at least the kernel's"
    )
    draws: Count = Field(description="independent Gaussian kernels")
    norm2toep_steps: Count = Field(description="products of norm2toep")
    reference_steps: Count = Field(
        description="largest number of Lanczos steps, in float64, for the zero-padded norm"
    )
    violation_sizes: tuple[Count, ...] = Field(
        min_length=1, description="lengths of the input for the kernels of one channel"
    )
    violation_draws: Count = Field(description="independent Gaussian kernels of one channel")
    seed: NonNegative = Field(description="seed of the kernels; the first draw has it itself")


class SeqlipCnn(Settings):
    """Bounds of convolutional nets of several depths, trained on MNIST-1D.

    The paper's nets are for MNIST, which this workflow does not prepare yet: these have the same
    layers over one axis in place of two.
    """

    data: Literal["mnist", "mnist1d"] = Field(
        description="mnist is the paper's and only named here; the study runs on mnist1d at any scale"
    )
    depths: tuple[Literal[4, 5, 7, 10], ...] = Field(min_length=1, description="numbers of layers")
    channels: tuple[Count, Count, Count] = Field(
        description="channels after the three layers of stride 2; layers in between keep the second"
    )
    trainings: Count = Field(description="independent initialisations per depth")
    epochs: Count = Field(description="epochs of Adam, cross-entropy")
    batch_size: Count = Field(description="points per update")
    learning_rate: PositiveFloat = Field(description="first learning rate of Adam")
    drop_every_epochs: Count = Field(description="epochs between two drops of the learning rate")
    drop_factor: Factor = Field(description="factor of each drop")
    triplets: Count = Field(
        description="leading singular triplets of each layer that greedy SeqLip is given (which "
        "number is behind the paper's table is not known)"
    )
    annealing_walks: Count = Field(description="walks of simulated annealing, from the steepest points")
    annealing_steps: Count = Field(description="steps of each walk")
    annealing_reach: PositiveFloat = Field(description="first size of the steps, per coordinate")
    seed: NonNegative = Field(description="root of all seeds of the study")


class BoundClaims(Settings):
    """Verdicts on claims about bounds, from random instances."""

    instances: Annotated[int, Field(strict=True, ge=4)] = Field(
        description="random instances of each claim"
    )
    seed: NonNegative = Field(description="root of the seeds of the instances")


class Resnet18Layers(Settings):
    """Norms of the 20 convolutions of ResNet-18 by every method of the comparison."""

    weights: str | None = Field(
        description="file of pretrained weights: .safetensors, or torchvision's own .pth under its "
        "published name (checked); null: a random initialisation"
    )
    seed: NonNegative = Field(description="seed of the random initialisation")
    image_size: Count = Field(description="height and width of the images")
    layers: Count = Field(description="number of convolutions measured, from the first on (all: 20)")
    gram_steps: Count = Field(description="products of Gram iteration (circular padding)")
    power_steps: Count = Field(description="power steps with the convolution (Ryu)")
    singla_steps: Count | None = Field(
        description="power steps for each unfolding (Singla & Feizi); null: singular values"
    )
    araujo_samples: Count = Field(description="points per axis of the grid (Araujo)")
    repeats: Count = Field(description="timed calls after one that does not count")
    time_budget: PositiveFloat = Field(description="seconds after which a call is not repeated")
    device: Device = Field(description="where to compute, and measure time; auto: CUDA if there is one")


class Alexnet(Settings):
    """AutoLip of AlexNet, layer by layer."""

    weights: str | None = Field(
        description="file of pretrained weights: .safetensors, or torchvision's own .pth under its "
        "published name (checked); null: a random initialisation"
    )
    seed: NonNegative = Field(description="seed of the random initialisation, and of the triplets")
    image_size: Annotated[int, Field(strict=True, ge=63)] = Field(
        description="height and width of the images"
    )
    part: Literal["network", "features"] = Field(
        description="features: only the convolutions and poolings"
    )
    seqlip_triplets: NonNegative = Field(
        description="leading singular triplets of each fully connected layer for the SeqLip estimate "
        "of these layers; 0: no estimate"
    )


AnySettings = TypeVar("AnySettings", bound=Settings)


class Study(BaseModel, Generic[AnySettings]):
    """A study at every scale."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    paper: AnySettings = Field(description="the set-up of the paper, in full")
    laptop: AnySettings = Field(description="what differs on a laptop (minutes)")
    smoke: AnySettings = Field(description="what differs in a quick check that the workflow runs")


class Studies(BaseModel):
    """The studies."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seqlip_ideal: Study[SeqlipIdeal] = Field(
        description="SeqLip in the ideal scenario (Virmaux & Scaman 2018)"
    )
    tightness: Study[Tightness] = Field(description="tightness of the bounds of fully connected nets")
    seqlip_mlp: Study[SeqlipMlp] = Field(
        description="bounds of fully connected nets by depth (Virmaux & Scaman 2018)"
    )
    seqlip_cnn: Study[SeqlipCnn] = Field(
        description="bounds of convolutional nets by depth (Virmaux & Scaman 2018), on MNIST-1D"
    )
    bound_claims: Study[BoundClaims] = Field(description="verdicts on what papers claim about bounds")
    gram_convergence: Study[GramConvergence] = Field(
        description="Gram iteration against power iteration, dense matrices (Delattre et al. 2023)"
    )
    conv_norms: Study[ConvNorms] = Field(
        description="norms of convolutions by every method (Delattre et al. 2023, section 5.2; 2024)"
    )
    padding: Study[Padding] = Field(description="circular against zero padding (Delattre et al. 2024)")
    resnet18_layers: Study[Resnet18Layers] = Field(
        description="norms of ResNet-18's convolutions (Delattre et al. 2023, section 5.3)"
    )
    alexnet: Study[Alexnet] = Field(
        description="AutoLip of AlexNet, layer by layer (Virmaux & Scaman 2018, section 6)"
    )
