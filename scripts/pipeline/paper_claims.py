"""What Khromov & Singh (ICLR 2024) claim, and three questions of our own, as tests on tidy tables."""

from collections.abc import Callable
from dataclasses import dataclass

from pipeline import claims_points as points
from pipeline import claims_setup as setup
from pipeline import claims_training as training
from pipeline import claims_width as width
from pipeline.claims import Claim
from pipeline.findings import Finding, Tables, attempt

PAPER = "Khromov & Singh 2024"
OWN = "our question"


@dataclass(frozen=True)
class PaperClaim(Claim[Callable[[Tables], Finding]]):
    """A statement about nets that tables of experiments and studies can speak against.

    ``reported`` is the paper's number, ``unit`` what the estimate is. ``figure`` may name several.
    """

    reported: str
    unit: str

    def judged(self, tables: Tables) -> Finding:
        """What the tables say; never an error for tables that are missing or empty."""
        return attempt(self.test, tables)


CLAIMS = (
    PaperClaim(
        "K1",
        PAPER,
        "Lower, average and upper bounds grow during training with cross-entropy",
        "evolution",
        training.grows,
        "C_lower x 63, C_upper x 66 (width 256); x 40, x 10 (width 65,536)",
        "growth of C_lower, width 256",
    ),
    PaperClaim(
        "K2",
        PAPER,
        "They also grow late in training with the squared error",
        "evolution, slopes",
        training.grows_under_mse,
        "log-log slopes 0.62 (C_lower), 0.80 (C_upper), 0.52 (C_avg)",
        "slope of C_lower",
    ),
    PaperClaim(
        "K3",
        PAPER,
        "They also grow in convolutional nets, ResNet-50 and transformers",
        "none",
        training.grows_in_other_nets,
        "slopes 0.29 (CNN), 0.49 (ResNet-50)",
        "slope of C_lower",
    ),
    PaperClaim(
        "K4",
        PAPER,
        "C_lower is faithful: test and mixed points raise it little beside the gap to C_upper",
        "evolution",
        points.larger_set,
        "C_S close to C_lower (read off a figure)",
        "share of the gap closed, width 256",
    ),
    PaperClaim(
        "K5",
        PAPER,
        "The largest Jacobian norm is a better lower bound than ratios of differences over pairs",
        "pairwise",
        points.above_pairs,
        "ratios 1.36 to 2.24",
        "least ratio of a run",
    ),
    PaperClaim(
        "K6",
        PAPER,
        "The upper bound explodes with depth, to 40 decades above the lower one",
        "none",
        points.grows_with_depth,
        "1e27 for ResNet-50 at initialisation",
        "log10 of C_upper / C_lower",
    ),
    PaperClaim(
        "K7",
        PAPER,
        "The largest Jacobian norm lies at the decision boundary, and training points nearly reach it",
        "toy",
        points.steepest_at_boundary,
        "C_lower / largest on a grid 0.942; a larger square adds nothing",
        "C_lower / largest on a grid",
    ),
    PaperClaim(
        "K8",
        PAPER,
        "Adversarially moved points hardly change C_lower",
        "adversarial",
        points.robust_to_attack,
        "ratios 0.94 to 1.05 (CIFAR-10, radius 0.5)",
        "ratio of C_lower",
    ),
    PaperClaim(
        "K9",
        PAPER,
        "Gaussian noise on the points hardly changes C_lower",
        "out_of_distribution",
        points.robust_to_noise,
        "no number",
        "ratio of C_lower, least radius",
    ),
    PaperClaim(
        "K10",
        PAPER,
        "All bounds have a double descent in width, with the test loss's peak at the threshold",
        "double_descent, double_descent_mse",
        width.double_descent,
        "expected peaks at width 80 (cross-entropy) and 800 (squared error)",
        "smaller relative fall from the peak of C_lower, cross-entropy",
    ),
    PaperClaim(
        "K11",
        PAPER,
        "C_upper of fully connected nets rises again far beyond the threshold",
        "double_descent",
        width.rises_again,
        "no number",
        "C_upper of the widest net / its least value",
    ),
    PaperClaim(
        "K12",
        PAPER,
        "The double descent of the test loss is carried by the variance over seeds, not by the bias",
        "bias_variance",
        width.variance_driven,
        "no number",
        "share of the fall that is variance",
    ),
    PaperClaim(
        "K13",
        PAPER,
        "The bound from Lipschitz constants follows the variance over seeds",
        "bias_variance",
        width.bound_follows_variance,
        "no number",
        "rank correlation over widths",
    ),
    PaperClaim(
        "K14",
        PAPER,
        "At any share of noisy labels C_lower has a double descent in width",
        "label_noise",
        width.double_descent_under_noise,
        "no number (CIFAR-10)",
        "smaller relative fall from the peak, least noise",
    ),
    PaperClaim(
        "K15",
        PAPER,
        "At any width C_lower first rises and then falls with the share of noisy labels",
        "label_noise",
        width.rise_and_fall_in_noise,
        "no number (CIFAR-10)",
        "smaller relative fall from the peak, least width",
    ),
    PaperClaim(
        "K16",
        PAPER,
        "The width at which C_lower peaks grows with the share of noisy labels",
        "label_noise",
        width.noise_moves_threshold,
        "no number (CIFAR-10)",
        "rank correlation",
    ),
    PaperClaim(
        "K17",
        PAPER,
        "Over-parameterised nets fit random labels more smoothly than nets near the threshold",
        "label_noise",
        width.wide_nets_are_smoother,
        "no number (CIFAR-10)",
        "ratio of C_lower",
    ),
    PaperClaim(
        "K18",
        PAPER,
        "A cap on the Lipschitz constant weakens the double descent of bounds and loss",
        "constrained",
        width.cap_flattens,
        "no number",
        "change of the height of C_lower's peak, cap 10",
    ),
    PaperClaim(
        "K19",
        PAPER,
        "A penalty on C_lower lowers the test loss while C_upper hardly moves",
        "regularisation",
        setup.penalty_helps,
        "no number",
        "ratio of the test loss",
    ),
    PaperClaim(
        "K20",
        PAPER,
        "The squared error gives slightly smaller Jacobians than cross-entropy; a softmax shrinks these",
        "loss_function",
        training.loss_and_softmax,
        "no number",
        "C_lower, squared error / cross-entropy",
    ),
    PaperClaim(
        "K21",
        PAPER,
        "Adam has larger bounds than gradient descent, also at its own end, and goes further",
        "optimizer",
        training.adam_above_sgd,
        "no number",
        "C_lower, Adam / gradient descent, own end",
    ),
    PaperClaim(
        "K22",
        PAPER,
        "The distance that the parameters went has a double descent in width",
        "parameter_distance",
        width.distance_has_a_peak,
        "no number",
        "smaller relative fall from the peak, cross-entropy",
    ),
    PaperClaim(
        "K23",
        PAPER,
        "Trained bounds grow faster than linearly with depth; at initialisation C_lower and C_avg fall",
        "depth",
        setup.grows_with_layers,
        "slopes 2.03, 3.33, 1.19 trained; -2.52, 0.30, -2.84 at initialisation (lower, upper, average)",
        "slope of C_lower, trained",
    ),
    PaperClaim(
        "K24",
        PAPER,
        "At initialisation there is no double descent in width",
        "initialisation",
        width.none_at_initialisation,
        "no number",
        "smaller relative fall from the peak of C_lower",
    ),
    PaperClaim(
        "K25",
        PAPER,
        "Bounds grow more slowly than linearly with the number of training points",
        "sample_size",
        setup.sublinear_in_samples,
        "slopes 0.37 (C_lower), 0.53 (C_upper), 0.36 (C_avg)",
        "slope of C_lower",
    ),
    PaperClaim(
        "K26",
        PAPER,
        "Dropout and weight decay lower C_lower",
        "none",
        setup.dropout_and_decay,
        "no number",
        "",
    ),
    PaperClaim(
        "K27",
        PAPER,
        "Misclassified points more often have large norms; maxima are alike, and the loss says little",
        "distribution",
        points.wrong_points_are_steeper,
        "correlation of loss and norm 0.03 (ResNet-20)",
        "mean norm, wrong / right",
    ),
    PaperClaim(
        "K28",
        PAPER,
        "C_lower from a subset falls a little short, and each doubling gains the same",
        "subsampling",
        points.subset_falls_short,
        "10.5 % below at 200,000 of 1,281,167 points; 5 points per doubling",
        "relative shortfall",
    ),
    PaperClaim(
        "K29",
        PAPER,
        "Trained nets are far from their linearisation at initialisation",
        "linearisation",
        training.far_from_linear,
        "C_lower from 0.369 to 24.2; mixed derivative 4.69",
        "C_lower at the end / most of the linearised net",
    ),
    PaperClaim(
        "K30",
        PAPER,
        "Jacobian norms of ResNets have a long tail",
        "none",
        points.long_tails,
        "no number",
        "",
    ),
    PaperClaim(
        "K31",
        PAPER,
        "The bounds from parameter space follow the trends of the empirical bounds",
        "theory",
        training.theory_follows,
        "no number",
        "rank correlation with C_lower",
    ),
    PaperClaim(
        "N1",
        OWN,
        "The double descent of the bounds remains where all widths have the same training loss",
        "double_descent_matched",
        width.double_descent_at_matched_loss,
        "not in the paper",
        "smaller relative fall from the peak of C_lower, cross-entropy",
    ),
    PaperClaim(
        "N2",
        OWN,
        "A search over all inputs finds at most twice C_lower",
        "sandwich",
        points.search_finds_little_more,
        "not in the paper",
        "search / C_lower, least width",
    ),
    PaperClaim(
        "N3",
        OWN,
        "The Lipschitz constant itself is nearer to C_lower than to C_upper",
        "sandwich",
        points.truth_is_near_lower,
        "not in the paper",
        "best certified bound between C_lower (0) and C_upper (1), least width",
    ),
    PaperClaim(
        "N4",
        OWN,
        "Batch order changes C_lower less than initialisation does",
        "seed_sources",
        setup.order_matters_less,
        "not in the paper",
        "ratio of standard deviations, least width",
    ),
)
"""All of them, in the order of the table."""
