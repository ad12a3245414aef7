"""Settings of the studies: figures that need bounds or small nets, but no experiment's training.

A study is one job, ``scripts/study_NAME.py``, that writes one tidy table. Nothing heavy is imported
here: the Snakefile reads this module on every call.
"""

from typing import Annotated, Generic, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

# The settings themselves are parameters of the rules, so a new key here rebuilds nothing.
AFFECTS_RESULTS = False  # see pipeline.provenance.fingerprint


def _odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError(f"{value} is even; kernels that keep the input's size have odd lengths")
    return value


Count = Annotated[int, Field(strict=True, ge=1)]
OddCount = Annotated[int, Field(strict=True, ge=1), AfterValidator(_odd)]
NonNegative = Annotated[int, Field(strict=True, ge=0)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]
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


class Toy(Settings):
    """A net on three Gaussians in the plane, and its Jacobian norm everywhere."""

    train_points: Count = Field(description="training points of each of the three classes")
    test_points: Count = Field(description="test points of each class")
    distance: PositiveFloat = Field(
        description="distance of the means from the origin; the covariances are the identity"
    )
    hidden_sizes: tuple[Count, ...] = Field(description="widths of the hidden layers, with biases")
    learning_rate: PositiveFloat = Field(description="rate of gradient descent, constant")
    steps: Count = Field(description="steps of gradient descent on all points, cross-entropy")
    history_points: Count = Field(description="steps at which losses and bounds are recorded, about")
    half_sides: tuple[PositiveFloat, ...] = Field(
        min_length=2, max_length=2, description="the squares searched and drawn are [-this, this]^2"
    )
    grid_points: Annotated[int, Field(strict=True, ge=2)] = Field(
        description="points of the grid on each side, for the largest Jacobian norm"
    )
    map_points: Annotated[int, Field(strict=True, ge=2)] = Field(
        description="points on each side of the maps that are drawn"
    )
    search_steps: Count = Field(description="steps of the search for points with large Jacobian norms")
    data_seed: NonNegative = Field(description="seed of the points")
    model_seed: NonNegative = Field(description="seed of the initialisation, and of the search")


class Distribution(Settings):
    """Jacobian norms of trained nets at every point."""

    widths: tuple[Count, ...] = Field(min_length=1, description="widths of the nets")


class BiasVariance(Settings):
    """Bias and variance over seeds of trained nets, and bounds of the variance."""

    draws: Count = Field(description="bootstrap samples of the test points, for the intervals")
    seed: NonNegative = Field(description="seed of these samples")


class Sandwich(Settings):
    """Every lower and upper bound of trained nets, between which the truth must lie."""

    searches: Count = Field(description="searches for large Jacobian norms per net; the best one counts")
    search_starts: Count = Field(description="points that each search starts from, the steepest ones")
    search_steps: Count = Field(description="moves of each search")
    search_radius: PositiveFloat = Field(
        description="how far from its start a search may go, in units of the largest norm of a point"
    )
    exact_width: Annotated[int, Field(strict=True, ge=0, le=20)] = Field(
        description="widest net whose 2^width activation patterns are enumerated for the exact constant"
    )
    seqlip_width: NonNegative = Field(description="widest net for SeqLip")
    descent_width: NonNegative = Field(description="widest net for LipSDP by descent")
    seed: NonNegative = Field(description="root of the seeds of the searches")


class OutOfDistribution(Settings):
    """Bounds and losses of trained nets at points with Gaussian noise."""

    radii: tuple[NonNegativeFloat, ...] = Field(
        min_length=1, description="standard deviations of the noise on each coordinate (data: about 1)"
    )
    seed: NonNegative = Field(description="root of the seeds of the noise")


class Adversarial(Settings):
    """Bounds and losses of trained nets at points attacked by projected gradient ascent."""

    radii: tuple[PositiveFloat, ...] = Field(
        min_length=1, description="largest distances from the points, in the 2-norm"
    )
    steps: Count = Field(description="steps of the attack")
    first_step: PositiveFloat = Field(description="length of the first step, in units of the radius")
    last_step: PositiveFloat = Field(
        description="length of the last step, in units of the radius; lengths fall geometrically"
    )
    check_steps: Count = Field(
        description="steps of an attack on one net that shows whether the others have converged"
    )


class Linearisation(Settings):
    """Whether a net linearised in its parameters could have the Jacobian norms of the trained one."""

    points: Count = Field(description="random training points for the mixed derivatives")
    seed: NonNegative = Field(description="seed of the choice of these points")


class Subsampling(Settings):
    """How the largest Jacobian norm depends on the number of points that are looked at."""

    widths: tuple[Count, ...] = Field(min_length=1, description="widths of the nets")
    sizes: tuple[Annotated[int, Field(strict=True, ge=2)], ...] = Field(
        min_length=1, description="sizes of random subsets of the training points"
    )
    draws: Annotated[int, Field(strict=True, ge=2)] = Field(
        description="random subsets of each size; expectations over all subsets stand beside them"
    )
    fresh_points: Annotated[int, Field(strict=True, ge=10)] = Field(
        description="further points from the generator of the data, seen in no training"
    )
    tail: Annotated[float, Field(gt=0, lt=1)] = Field(
        description="share of the largest norms that a generalised Pareto distribution is fitted to"
    )
    seed: Annotated[int, Field(strict=True, ge=0, lt=2**32)] = Field(
        description="seed of the fresh points (the data itself: 42) and of the subsets"
    )


class ExtendedSetRuns(Settings):
    """Where one experiment is measured over the extended set."""

    epochs: tuple[Count, ...] = Field(
        description="kept epochs to measure at, besides initialisation and the stop"
    )
    seeds: Count = Field(description="nets, the first of the experiment's seeds")
    combinations: Count = Field(description="convex combinations per weight and data set")


class ExtendedSet(Settings):
    """The largest Jacobian norm over data and convex combinations, along training."""

    weights: tuple[Annotated[float, Field(ge=0, le=1)], ...] = Field(
        min_length=1, description="weight of the first point of each pair"
    )
    evolution: ExtendedSetRuns = Field(description="what is measured of `evolution`")
    evolution_wide: ExtendedSetRuns = Field(description="what is measured of `evolution_wide`")
    seed: NonNegative = Field(description="root of the seeds of the pairs")

    def of(self, experiment: str) -> ExtendedSetRuns:
        """What is measured of an experiment."""
        return {"evolution": self.evolution, "evolution_wide": self.evolution_wide}[experiment]


class Pairwise(Settings):
    """Largest Jacobian norm and steepest secant, along training."""

    epochs: tuple[Count, ...] = Field(
        description="kept epochs to measure at, besides initialisation and the stop"
    )


class PaperRun(Settings):
    """The run behind the paper's Table S3, from its own start."""

    torch_seed: NonNegative = Field(description="seed given to PyTorch before the net is built")
    permuted: bool = Field(description="whether the training set is permuted as in the authors' code")
    epochs: tuple[Count, ...] = Field(
        min_length=1, description="epochs to measure at, besides initialisation; it stops at the last"
    )


class LossFunction(Settings):
    """Bounds of nets trained with cross-entropy and with squared error."""

    widths: tuple[Count, ...] = Field(min_length=1, description="widths of the nets")


class TheoryBounds(Settings):
    """The Lipschitz constant in the parameters along training."""


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
    toy: Study[Toy] = Field(
        description="bounds of a net on three Gaussians in the plane (Khromov & Singh 2024, Figure 5)"
    )
    distribution: Study[Distribution] = Field(
        description="Jacobian norms at every point (Khromov & Singh 2024, Figures S22, S23 and S38)"
    )
    bias_variance: Study[BiasVariance] = Field(
        description="variance over seeds and its bounds (Khromov & Singh 2024, Figures 8, S18, S20)"
    )
    sandwich: Study[Sandwich] = Field(
        description="every bound of trained nets, and where the truth must lie"
    )
    out_of_distribution: Study[OutOfDistribution] = Field(
        description="bounds at points with Gaussian noise (Khromov & Singh 2024, Figure S5)"
    )
    adversarial: Study[Adversarial] = Field(
        description="bounds at attacked points (Khromov & Singh 2024, Figure S4, Table S6)"
    )
    linearisation: Study[Linearisation] = Field(
        description="the net linearised in its parameters (Khromov & Singh 2024, appendix S3.1)"
    )
    subsampling: Study[Subsampling] = Field(
        description="bounds from random subsets of the points (Khromov & Singh 2024, Table S7)"
    )
    extended_set: Study[ExtendedSet] = Field(
        description="Jacobian norms between the points along training (Khromov & Singh 2024, Figure 1)"
    )
    pairwise: Study[Pairwise] = Field(
        description="Jacobian norms against secants (Khromov & Singh 2024, Table S3)"
    )
    paper_run: Study[PaperRun] = Field(description="the very run behind Table S3 (Khromov & Singh 2024)")
    loss_function: Study[LossFunction] = Field(
        description="cross-entropy against squared error (Khromov & Singh 2024, Figure S28)"
    )
    theory_bounds: Study[TheoryBounds] = Field(
        description="the constant in the parameters (Khromov & Singh 2024, Figure S6)"
    )
