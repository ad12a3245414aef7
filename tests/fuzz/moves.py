"""What a forward method may be made of: each move appends lines to a builder."""

from collections.abc import Callable

from tests.fuzz.builder import Builder, UnfitError

Move = Callable[[Builder], object]
ORDINARY: list[tuple[float, Move]] = []
ILLEGITIMATE: list[Move] = []


def move(weight: float = 1.0) -> Callable[[Move], Move]:
    """Registers an ordinary move, chosen as often as its weight says."""

    def register(function: Move) -> Move:
        ORDINARY.append((weight, function))
        return function

    return register


def illegitimate(function: Move) -> Move:
    """Registers a move after which a model must be refused, or bounded by what it still is."""
    ILLEGITIMATE.append(function)
    return function


# Layers

_ACTIVATIONS = (
    "nn.ReLU()",
    "nn.ReLU(inplace=True)",
    "nn.LeakyReLU({n})",
    "nn.LeakyReLU({n}, inplace=True)",
    "nn.ELU({n})",
    "nn.CELU({p})",
    "nn.SELU()",
    "nn.GELU()",
    "nn.GELU('tanh')",
    "nn.SiLU()",
    "nn.Mish()",
    "nn.Sigmoid()",
    "nn.Tanh()",
    "nn.Softplus()",
    "nn.Softplus({p}, {p})",
    "nn.Softplus(-1.0, 30.0)",
    "nn.Softsign()",
    "nn.Softshrink({p})",
    "nn.Hardshrink({n})",
    "nn.Tanhshrink()",
    "nn.Hardtanh(-0.5, {p})",
    "nn.Hardsigmoid()",
    "nn.Hardswish()",
    "nn.Threshold({n}, {n})",
    "nn.Threshold(0.5, 0.5)",
    "nn.ReLU6()",
    "nn.LogSigmoid()",
    "nn.PReLU(init={n})",
    "nn.RReLU()",
    "nn.Softmax(1)",
    "nn.LogSoftmax(-1)",
    "nn.Softmin(-1)",
    "nn.GLU(1)",
)

_FUNCTIONS = (
    "F.relu({v})",
    "F.leaky_relu({v}, negative_slope={n})",
    "F.elu({v}, alpha={n})",
    "F.celu({v}, {n})",
    "F.threshold({v}, {n}, {n})",
    "F.hardtanh({v}, -1.0, {p})",
    "F.softplus({v}, beta={n})",
    "F.hardshrink({v}, {n})",
    "F.softshrink({v}, {p})",
    "F.rrelu({v}, {p}, 4.0)",
    "F.softsign({v})",
    "F.prelu({v}, torch.full((1,), {n}, dtype={v}.dtype))",
    "torch.tanh({v})",
    "torch.sin({v} * {n})",
    "torch.atan({v})",
    "torch.erf({v})",
    "torch.abs({v})",
    "{v}.clamp(-0.5, {p})",
    "{v}.clamp(min={n})",
    "{v}.clamp(torch.full(({v}.shape[-1],), -0.5, dtype={v}.dtype))",
    "torch.clamp({v}, max={n})",
    "torch.cos({v}) * {n}",
    "torch.asinh({v})",
    "-{v}",
    "{v} / {n}",
    "{n} - {v}",
    "torch.rsub({v}, {n}, alpha=2)",
    "torch.sub({v}, x.new_ones(()), alpha={n})",
    "{v} * {n}",
    "{v}.mul({n}).add({n})",
    "torch.logaddexp({v}, -{v})",
    "{v}.round(decimals=0)",
    "torch.hypot({v}, {v})",
    "{v}.detach()",
    "{v}.to(x.dtype)",
    "F.gelu({v}, approximate='tanh')",
    "F.dropout({v}, 0.5, self.training)",
    "F.alpha_dropout({v}, 0.5, training=False)",
    "torch.nan_to_num({v})",
    "torch.relu({v} - {n})",
    "F.logsigmoid({v})",
    "torch.sinc({v})",
    "torch.special.expit({v})",
)


def filled(b: Builder, template: str, v: str) -> str:
    """A template with {v} a value, {n} numbers and {p} positive ones, each drawn anew."""
    text = template.replace("{v}", v)
    while "{n}" in text:
        text = text.replace("{n}", repr(b.number()), 1)
    while "{p}" in text:
        text = text.replace("{p}", repr(abs(b.number())), 1)
    return text


@move(3)
def activation(b: Builder) -> None:
    v = b.variable()
    if b.chance(0.5):
        b.let(filled(b, b.one(_FUNCTIONS), v))
    else:
        _called(b, b.layer(filled(b, b.one(_ACTIVATIONS), v)), v)


def _called(b: Builder, layer: str, v: str) -> str:
    """A call of a layer, by keyword now and then; its result may be the input itself."""
    return b.let(f"{layer}(input={v})" if b.chance(0.1) else f"{layer}({v})")


@move(3)
def dense(b: Builder) -> None:
    v = b.variable()
    n, out = b.size(v)[-1], b.whole(1, 5)
    template = b.one(
        [
            "nn.Linear({n}, {o})",
            "nn.Linear({n}, {o}, bias=False)",
            "nn.utils.weight_norm(nn.Linear({n}, {o}))",
            "nn.utils.parametrizations.weight_norm(nn.Linear({n}, {o}))",
            "nn.LayerNorm({n})",
            "nn.utils.spectral_norm(nn.Linear({n}, {o}))",
            "nn.RMSNorm({n}, eps=0.25)",
            "nn.Identity()",
            "nn.utils.parametrizations.spectral_norm(nn.Linear({n}, {o}))",
            "nn.Dropout(0.5)",
            "nn.utils.parametrizations.orthogonal(nn.Linear({n}, {o}))",
            "nn.LayerNorm({n}, eps=0.5)",
            "nn.Sequential(nn.Linear({n}, {o}), nn.Tanh(), nn.Linear({o}, {n}))",
            "nn.LayerNorm({n}, elementwise_affine=False)",
        ]
    )
    layer = b.layer(template.replace("{n}", str(n)).replace("{o}", str(out)))
    if "Norm(" in template and "False" not in template:
        b.arrange(f"nn.init.normal_({layer}.weight)")
    result = _called(b, layer, v)
    if b.chance(0.2) and b.size(result) == b.size(v):
        b.let(f"{layer}({result})")


@move(2)
def channels(b: Builder) -> None:
    """Layers over channels and positions."""
    v = b.variable(2, 3)
    c, axes = b.size(v)[0], len(b.size(v)) - 1
    k, s, p, d, out = b.whole(1, 3), b.whole(1, 2), b.whole(0, 1), b.whole(1, 2), b.whole(1, 3)
    mode = b.one(["zeros", "zeros", "circular", "reflect", "replicate"])
    half = min(p, k // 2)
    resampling = "nearest" if axes == 1 or b.chance(0.5) else "bilinear"
    template = b.one(
        [
            f"nn.Conv{axes}d({c}, {out}, {k}, stride={s}, padding={p}, dilation={d}, "
            f"padding_mode='{mode}')",
            f"nn.Conv{axes}d({c}, {c * out}, {k}, padding='same', groups={c})",
            f"nn.utils.weight_norm(nn.Conv{axes}d({c}, {out}, {k}))",
            f"nn.utils.parametrizations.spectral_norm(nn.Conv{axes}d({c}, {out}, {k}, padding={p}))",
            f"nn.ConvTranspose{axes}d({c}, {out}, {k}, stride={s}, padding={half}, "
            f"output_padding={s - 1})",
            f"nn.MaxPool{axes}d({k}, {s}, {half}, {d}, ceil_mode={b.chance(0.3)})",
            f"nn.AvgPool{axes}d({k}, {s}, {half}, ceil_mode={b.chance(0.3)}, "
            f"count_include_pad={b.chance(0.5)})",
            f"nn.AdaptiveAvgPool{axes}d({out})",
            f"nn.AdaptiveMaxPool{axes}d({out})",
            f"nn.LPPool{axes}d(2, {k})",
            f"nn.GroupNorm({c}, {c}, eps=0.25)",
            f"nn.GroupNorm(1, {c})",
            f"nn.InstanceNorm{axes}d({c}, affine=True)",
            f"nn.Dropout{axes}d(0.5)",
            f"nn.InstanceNorm{axes}d({c}, track_running_stats=True)",
            f"nn.Upsample(scale_factor=2, mode='{resampling}')",
            f"nn.ReflectionPad{axes}d(1)",
            f"nn.ConstantPad{axes}d(1, {b.number()})",
            f"nn.CircularPad{axes}d(1)",
            f"nn.ReplicationPad{axes}d({p})",
        ]
    )
    _called(b, b.layer(template), v)


@move(1.5)
def batch_norm(b: Builder) -> None:
    v = b.variable(1, 2, 3)
    size = b.size(v)
    kind = {1: "1d", 2: "1d", 3: "2d"}[len(size)]
    layer = b.layer(f"nn.BatchNorm{kind}({size[0]}, affine={b.chance(0.8)})")
    b.arrange(f"{layer}.running_mean.normal_(); {layer}.running_var.uniform_(0.1, 2.0)")
    _called(b, layer, v)


@move(0.7)
def attention(b: Builder) -> None:
    v = b.variable(2)
    layer = b.layer(f"nn.MultiheadAttention({b.size(v)[-1]}, 1, batch_first=True)")
    b.let(
        b.one(
            [
                f"{layer}({v}, {v}, {v})[0]",
                f"{layer}({v}, {v}, {v}, need_weights=False)[0]",
                f"{layer}({v}, {v}, {v})[1]",
                f"F.scaled_dot_product_attention({v}, 2 * {v}, {v}, scale={b.number()})",
                f"F.scaled_dot_product_attention({v}, {v}, {v}, is_causal=True)",
                f"torch.softmax({v} @ {v}.mT, -1) @ {v}",
            ]
        )
    )


@move(0.4)
def recurrent(b: Builder) -> None:
    v = b.variable(2)
    if b.size(v)[0] > 3:
        raise UnfitError
    kind = b.one(["GRU", "LSTM", "RNN"])
    b.let(f"{b.layer(f'nn.{kind}({b.size(v)[-1]}, 2, batch_first=True)')}({v})[0]")


@move(0.7)
def shared(b: Builder) -> None:
    """One layer called at two places."""
    v = b.variable(1)
    n = b.size(v)[0]
    layer = b.layer(b.one([f"nn.Linear({n}, {n})", f"nn.Sequential(nn.Linear({n}, {n}), nn.ReLU())"]))
    first = b.let(f"{layer}({v})")
    b.let(f"{layer}(torch.tanh({first})) - {b.number()} * {first}")


@move(0.8)
def subclass(b: Builder) -> None:
    """A layer of a subclass that does something else than its parent."""
    v = b.variable()
    name = b.fresh("Own")
    body = b.one(
        [
            "return {n} * super().forward(input)",
            "return super().forward(input) + {n} * input.sum(-1, keepdim=True)",
            "return super().forward({n} * input).abs_()",
        ]
    )
    parent = b.one(["Linear", "ReLU", "Tanh", "Identity", "LayerNorm", "Softsign", "Hardtanh"])
    b.helper(f"class {name}(nn.{parent}):\n    def forward(self, input):\n        {filled(b, body, v)}")
    n = b.size(v)[-1]
    sizes = {"Linear": f"{n}, 2", "LayerNorm": f"{n}"}
    layer = b.layer(f"{name}({sizes.get(parent, '')})")
    b.let(f"{layer}({v})")


# Views and writes

_VIEWS = (
    "{v}[:, {a}:{b}]",
    "{v}.select(1, {a})",
    "{v}.narrow(1, {a}, 1)",
    "{v}.view({v}.size(0), -1)",
    "{v}.reshape({v}.size(0), -1)",
    "{v}.transpose(1, -1)",
    "{v}.flatten(1)",
    "{v}.unsqueeze(1)",
    "{v}.chunk(2, 1)[0]",
    "{v}.unbind(1)[{a}]",
    "{v}.split(1, 1)[{a}]",
    "{v}[..., {a}]",
    "{v}[:, ::2]",
    "torch.swapaxes({v}, 1, -1)",
    "{v}.movedim(-1, 1)",
    "{v}.squeeze(1)",
    "{v}.view_as({v})",
    "{v}[...]",
    "{v}.diagonal(0, -2, -1)",
    "{v}.expand_as({v})",
    "{v}.detach()",
    "{v}.T.T",
    "{v}.unfold(-1, 1, 1)",
    "nn.Flatten()({v})",
    "nn.Identity()({v})",
    "F.dropout({v}, 0.5, False)",
    "{v}.contiguous()",
    "{v}.data",
    "{v}.to({v}.dtype)",
    "{v}.as_strided({v}.shape, {v}.stride())",
    "{v}[:, [{a}]]",
    "{v}.clone()",
)

_WRITES = (
    "{w}.mul_({n})",
    "{w}.add_({n})",
    "{w}.relu_()",
    "{w} *= {n}",
    "{w} += {n}",
    "{w}.clamp_(min={n})",
    "{w}.tanh_()",
    "{w}.zero_()",
    "{w}.fill_({n})",
    "{w}.neg_()",
    "{w}[:] = {n} * {w}.flip(-1)",
    "{w}.sub_(2 * {w})",
    "F.relu({w}, inplace=True)",
    "F.leaky_relu_({w}, {n})",
    "torch.sigmoid({w}, out={w})",
    "{w}.abs_()",
    "{w}[:, 0] = {n}",
    "{w}[:, -1] *= {n}",
    "{w}.copy_({w}.flip(1))",
    "{w}.square_()",
    "{w}.div_({n})",
    "{w}.masked_fill_(torch.arange({w}.size(-1)) > 0, {n})",
    "{w}.data.mul_({n})",
    "F.elu({w}, {n}, True)",
)


@move(4)
def written_view(b: Builder) -> None:
    """A view changed in place; later lines may use the view, what it is of, and older views."""
    v = b.variable()
    if v == "x" or b.chance(0.4):
        v = b.let(f"{b.number()} * {v}")
    width = b.size(v)[0]
    start = b.whole(0, width - 1)
    template = b.one(_VIEWS).replace("{a}", str(start)).replace("{b}", str(b.whole(start + 1, width)))
    view = b.fresh("w")
    b.do(f"{view} = {template.replace('{v}', v)}")
    if b.chance(0.3):
        b.do(f"old = {view}")
    b.do(filled(b, b.one(_WRITES).replace("{w}", view), v))
    b.admit(v)
    if b.chance(0.5):
        try:
            b.admit(view)
        except UnfitError:
            return


@move(2)
def kept_then_changed(b: Builder) -> None:
    """A list of features that holds one tensor before and after it was changed."""
    v = b.variable()
    h = b.let(b.one([f"{v} * 2", f"torch.tanh({v})", f"{v} + 1", f"F.relu({v})"]))
    b.do(f"kept = [{h}]")
    b.do(
        b.one(
            [
                f"{h} += {b.number()} * {v}",
                f"{h}.add_({v}, alpha={b.number()})",
                f"{h}[:, 0] += {v}[:, -1]",
                f"{h}.mul_({b.number()})",
                f"{h}.lerp_({v}, 0.25)",
                f"{h}.addcmul_({h}, {h}.new_ones(()))",
            ]
        )
    )
    b.do(f"kept.append({h})")
    b.let(
        b.one(["torch.cat(kept, 1)", "torch.stack(kept, 1)", "kept[0] + kept[1]", "torch.hstack(kept)"])
    )


@move(2)
def filled_buffer(b: Builder) -> None:
    """A tensor of zeros that parts are written into."""
    v = b.variable()
    size = b.size(v)
    extra = b.whole(0, 2)
    out = b.fresh("v")
    shape = ", ".join(map(str, (size[0] + extra, *size[1:])))
    maker = b.one(
        [
            "torch.zeros({b}, {s}, dtype={v}.dtype)",
            "{v}.new_zeros({b}, {s})",
            "{v}.new_ones(({b}, {s}))",
            "torch.empty({b}, {s}, dtype={v}.dtype).fill_(2.0)",
        ]
    )
    b.do(f"{out} = " + maker.replace("{b}", f"{v}.size(0)").replace("{s}", shape).replace("{v}", v))
    start = b.whole(0, extra)
    end = start + size[0]
    b.do(
        b.one(
            [
                f"{out}[:, {start}:{end}] = {v}",
                f"{out}[:, {start}:{end}] += {b.number()} * {v}",
                f"{out}.narrow(1, {start}, {size[0]}).copy_({v})",
                f"torch.mul({v}, 2, out={out}[:, {start}:{end}])",
                f"{out}[:, {start}] = {v}[:, 0]",
                f"{out}[:, torch.arange({start}, {end})] = {v}",
                f"{out}[:, [0, 0]] = {v}[:, :1]",
                f"for i in range({size[0]}): {out}[:, i] = {b.number()} * {v}[:, -1 - i]",
                f"{out}.index_add_(1, torch.zeros({size[0]}, dtype=torch.long), {v})",
                f"{out}.index_copy_(1, torch.arange({size[0]}), {v})",
                f"{out}[..., :1] = {v}[:, :1, ..., :1]",
            ]
        )
    )
    b.admit(out)


# Moves of entries, and joins

_MOVED = (
    "torch.cat([{v}, {w}], 1)",
    "torch.stack([{v}, {w}], 1)",
    "torch.stack(({v}, {v}, 2 * {v}), -1)",
    "{v}.unsqueeze(1).expand(-1, 3, *{v}.shape[1:])",
    "{v}.repeat(1, 2, *[1] * ({v}.dim() - 2))",
    "{v}.repeat_interleave(2, 1)",
    "torch.tile({v}, (1, 2) + (1,) * ({v}.dim() - 2))",
    "{v}.flip(-1)",
    "torch.roll({v}, 1, -1)",
    "torch.roll({v}, (1, 1), (1, -1))",
    "{v}[:, [0, -1, 0]]",
    "{v}[..., [0, 0]]",
    "{v}.index_select(1, torch.tensor([0, 0]))",
    "{v}.permute(0, *range({v}.dim() - 1, 0, -1))",
    "{v}.transpose(1, -1)",
    "{v}.flatten(1)",
    "{v}.unsqueeze(-1)",
    "{v}.squeeze(-1)",
    "{v}[:, None]",
    "{v}.view({v}.size(0), 1, -1)",
    "{v}.reshape({v}.shape[0], -1, 1)",
    "{v}.unfold(-1, 2, 1)",
    "F.pad({v}, (1, 0))",
    "F.pad({v}, (0, 1), value={n})",
    "F.pad({v}, (-1, 2))",
    "{v}.tril()",
    "{v}.triu(1)",
    "torch.diag_embed({v})",
    "{v}.diagonal(0, 1, -1)",
    "torch.rot90({v}, 1, (1, -1))",
    "{v}[:, ::2]",
    "torch.stack({v}.unbind(1), -1)",
    "torch.cat({v}.chunk(2, 1)[::-1], 1)",
    "{v}.movedim(1, -1)",
    "{v}.gather(1, torch.zeros_like({v}[:, :1], dtype=torch.long))",
    "{v}[:, torch.tensor([True] * {v}.shape[1])]",
    "torch.where(torch.arange({v}.shape[-1]) > 0, {v}, {w})",
    "torch.where(torch.arange({v}.shape[-1]) > 0, {v}, {n})",
    "{v}.masked_fill(torch.arange({v}.shape[-1]) > 0, {n})",
    "{v} + {w}[:, :1]",
    "{v} - {w}",
    "{v} + {n} * {w}",
    "torch.add({v}, {w}, alpha={n})",
    "torch.maximum({v}, {w})",
    "torch.min({v}, {w})",
    "torch.max({v}, {v}.new_full((), {n}))",
    "torch.cat([{v}, torch.ones_like({v}[:, :1])], 1)",
    "torch.lerp({v}, {w}, 0.25)",
    "torch.dstack([{v}, {w}])",
    "torch.slice_scatter({v}, {n} * {v}[:, :1], 1, 0, 1)",
    "torch.select_scatter({v}, {v}[:, -1] * 2, 1, 0)",
    "torch.meshgrid(x.new_ones(2), x.new_ones(1), indexing='ij')[0][0] * {v}[..., :1]",
    "F.pixel_shuffle({v}, 2)",
    "{v}.scatter(1, torch.zeros_like({v}[:, :1], dtype=torch.long), {n})",
    "{v}.index_fill(1, torch.tensor([0]), {n})",
    "{v} * x.new_ones(5, 1, 1, 1)[0, 0]",
    "torch.broadcast_to({v}[:, :1], {v}.shape)",
    "torch.column_stack([{v}, {w}])",
    "torch.take_along_dim({v}, torch.zeros_like({v}[:, :1], dtype=torch.long), 1)",
    "{v}.swapaxes(1, -1).flip(1)",
)

_REDUCTIONS = (
    "{v}.sum(1, keepdim=True)",
    "{v}.mean(-1, keepdim=True)",
    "{v}.cumsum(1)",
    "{v}.logsumexp(-1, keepdim=True)",
    "{v}.norm(dim=-1, keepdim=True)",
    "torch.linalg.vector_norm({v}, {p}, -1, keepdim=True)",
    "{v}.amax(1, keepdim=True)",
    "{v}.max(-1, keepdim=True)[0]",
    "{v}.min(1, keepdim=True).values",
    "{v}.sort(1)[0]",
    "{v}.sort(-1, descending=True).values",
    "{v}.topk(1, 1).values",
    "{v}.median(1, keepdim=True)[0]",
    "{v}.kthvalue(1, -1, keepdim=True)[0]",
    "torch.softmax({v}, 1)",
    "torch.log_softmax({n} * {v}, -1)",
    "F.normalize({v}, dim=-1, eps=0.5)",
    "F.normalize({v}, p=1, dim=1, eps=0.5)",
    "{v}.std(-1, keepdim=True)",
    "{v}.var(-1, keepdim=True)",
    "{v}.flatten(1).sum(1, keepdim=True)",
    "{v}.diff(dim=1)",
    "{v}.cummax(1)[0]",
    "{v} - {v}.mean(-1, keepdim=True)",
    "torch.einsum('b...->b...', {v})",
    "{v}.norm(p=1, dim=1, keepdim=True)",
    "{v}.abs().pow(1.5).sum(1, keepdim=True)",
    "F.avg_pool1d({v}, 1)",
    "torch.cdist({v}, {v})",
    "{v}.prod(1, keepdim=True)",
    "F.local_response_norm({v}, 2)",
)

_PRODUCTS = (
    "{v} * {w}",
    "{v} * {v}",
    "{v}.square()",
    "{v} ** 2",
    "{v} ** 3",
    "({v} + {n}).pow(2)",
    "torch.exp({v})",
    "torch.exp(-{v}.square())",
    "{v} / (1 + {v}.abs())",
    "{v} / (2 + {w}.square())",
    "1 / (1 + torch.exp({v}))",
    "{v} / {v}.norm(dim=-1, keepdim=True).clamp_min(0.5)",
    "{v} / {v}.norm(dim=-1, keepdim=True).clamp(0.5, 1.0)",
    "{v} * torch.sigmoid({w})",
    "{v} * {w}.sum(-1, keepdim=True)",
    "torch.addcmul({v}, {v}, {w}, value={n})",
    "torch.log(1 + {v}.square())",
    "torch.log1p({v}.abs())",
    "torch.sqrt({v}.square() + 0.25)",
    "{v}.expm1()",
    "torch.rsqrt({v}.square() + 0.5)",
    "torch.pow(2.0, {v})",
    "({v} + 4.0).reciprocal()",
    "{v}.unsqueeze(-1) * {v}.unsqueeze(-2)",
    "{v} * {v}.detach()",
    "torch.tanh({v}) * torch.tanh({w})",
    "{v} * {v}.flip(1)",
    "{v} @ {v}.mT",
    "{v}.mT @ {v}",
    "torch.einsum('bi,bj->bij', {v}, {w})",
    "torch.einsum('bi,bi->b', {v}, {v})[:, None]",
    "{v} @ {w}.mT",
    "{v}.abs().sqrt()",
    "F.cosine_similarity({v}, {w}, dim=-1)[:, None]",
    "torch.sinh({v})",
    "{v}.abs() ** 1.5",
    "{v} / {v}.norm(dim=-1, keepdim=True).clamp_min(0.5).transpose(1, 2)",
    "(1 + {v}.abs()).log()",
    "torch.softmax({v}, -1) * {v}",
    "{v} / {v}.norm(dim=-1, keepdim=True).clamp_min(0.5).view({v}.size(0), 1, -1)",
    "({v} * {n}).exp() / ({v} * {n}).exp().sum(-1, keepdim=True)",
)


def _templates(templates: tuple[str, ...]) -> Move:
    def choose(b: Builder) -> None:
        v = b.variable()
        same = [w for w in b.variables if b.size(w) == b.size(v)]
        b.let(filled(b, b.one(templates).replace("{w}", b.random.choice(same)), v))

    return choose


move(5)(_templates(_MOVED))
move(2)(_templates(_REDUCTIONS))
move(3)(_templates(_PRODUCTS))


# Weights by hand


@move(2)
def products_by_constants(b: Builder) -> None:
    v = b.variable(1, 2, 3)
    size = b.size(v)
    n, m, out = size[-1], size[-2] if len(size) > 1 else 1, b.whole(1, 4)
    w = b.buffer(f"torch.randn({n}, {out})")
    u = b.buffer(f"torch.randn({out}, {m})")
    b.let(
        b.one(
            [
                f"{v} @ {w}",
                f"torch.matmul({v}, {w})",
                f"F.linear({v}, {w}.t())",
                f"{u} @ {v}",
                f"{v} @ ({w} @ {w}.t())",
                f"F.linear({v}, {w}.t() / {w}.norm())",
                f"F.linear({v}, 2 * torch.tanh({w}).t(), {w}[0])",
                f"{v} * {w}[:, 0]",
                f"torch.einsum('bi,io->bo', {v}, {w})",
                f"torch.einsum('bji,io->bjo', {v}, {w})",
                f"{v} + {w}[:, 0]",
                f"torch.einsum('oj,bji->boi', {u}, {v})",
                f"torch.einsum('bi,io->bio', {v}, {w})",
                f"{v} / (1 + {w}[:, 0].abs())",
                f"torch.tensordot({v}, {w}, 1)",
                f"({w}.t() @ {v}.mT).mT",
                f"torch.baddbmm({v}, {v}, ({w} @ {w}.t()).expand({v}.size(0), -1, -1))",
                f"torch.addmm({w}[0], {v}, {w})",
                f"torch.addmm({w}[0], {v}, {w}, alpha=2)",
                f"F.bilinear({v}, {v}, {w}.t().unsqueeze(-1) * {w}[:, 0])",
                f"({v}.unsqueeze(-1) * {w}).sum(-2)",
                f"torch.inner({v}, {w}.t())",
                f"{v} @ {w}[:, 0].expand({out}, -1).t()",
            ]
        )
    )


@move(1)
def convolution_by_hand(b: Builder) -> None:
    v = b.variable(2, 3)
    c, axes = b.size(v)[0], len(b.size(v)) - 1
    out, k = b.whole(1, 3), b.whole(1, 2)
    w = b.buffer(f"torch.randn({out}, {c}, {', '.join([str(k)] * axes)})")
    b.let(
        b.one(
            [
                f"F.conv{axes}d({v}, {w})",
                f"F.conv{axes}d({v}, {w} - {w}.mean(), padding={k - 1})",
                f"F.conv_transpose{axes}d({v}, {w}.transpose(0, 1))",
                f"F.conv{axes}d({v}, {w}, stride=2, padding=1)",
                f"F.conv{axes}d({v}, {w}, padding='same')",
                f"F.conv{axes}d(input={v}, weight={w}, dilation=2, padding=2)",
                f"F.conv_transpose{axes}d({v}, {w}.transpose(0, 1), stride=2, dilation=2, padding=1)",
            ]
        )
    )


@move(0.7)
def constant_norms(b: Builder) -> None:
    """Normalisations by hand, with constants that a rule may drop."""
    v = b.variable()
    n, c = b.size(v)[-1], b.size(v)[0]
    full = f"torch.full(({n},), {b.number()}, dtype={v}.dtype)"
    variance = f"torch.full(({c},), 2.0, dtype={v}.dtype)"
    b.let(
        b.one(
            [
                f"F.layer_norm({v}, ({n},), None, {full}, 1.0)",
                f"F.layer_norm({v}, ({n},), {full})",
                f"F.rms_norm({v}, ({n},), eps=1.0)",
                f"F.group_norm({v}, 1, eps=0.5)",
                f"F.batch_norm({v}, torch.zeros({c}, dtype={v}.dtype), {variance})",
                f"F.instance_norm({v}, eps=0.5)",
            ]
        )
    )


# Calls that are not what they seem


@move(0.8)
def default_argument(b: Builder) -> None:
    """A submodule whose forward has a second argument that may be left out."""
    v = b.variable()
    name = b.fresh("Own")
    b.helper(
        f"class {name}(nn.Module):\n    def forward(self, h, skip=None, *, scale={b.number()}):\n"
        "        return scale * h if skip is None else h + scale * skip"
    )
    layer = b.layer(f"{name}()")
    b.let(
        b.one(
            [
                f"{layer}({v})",
                f"{layer}({v}, {v})",
                f"{layer}(h={v}, skip=torch.tanh({v}))",
                f"{layer}({v}, scale=3.0)",
            ]
        )
    )


@move(0.5)
def default_of_forward(b: Builder) -> None:
    b.defaults = ", skip=None, scale=2.0"
    v = b.variable()
    n = b.number()
    b.space |= {"skip": None, "scale": 2.0}
    b.let(f"scale * {v} if skip is None else {n} * {v}")


_HOOKS = (
    "register_forward_hook(lambda m, i, o: {n} * o)",
    "register_forward_hook(lambda m, i, o: o.mul_({n}))",
    "register_forward_pre_hook(lambda m, i: ({n} * i[0],))",
    "register_forward_pre_hook(lambda m, i: {n} * i[0])",
    "register_forward_hook(lambda m, i, o: o + {n} * i[0].sum(-1, keepdim=True))",
    "register_forward_hook(lambda m, i, o: None)",
    "register_forward_hook(lambda m, a, k, o: o + {n} * o.flip(-1), with_kwargs=True)",
    "register_forward_pre_hook(lambda m, a, k: ((a[0] * {n},), k), with_kwargs=True)",
)


def _hook(b: Builder) -> str:
    return filled(b, b.one(_HOOKS), "")


@move(1)
def hooked(b: Builder) -> None:
    v = b.variable()
    n = b.size(v)[-1]
    layer = b.layer(
        b.one([f"nn.Linear({n}, {n})", "nn.ReLU()", "nn.Tanh()", "nn.Identity()", "nn.Softsign()"])
    )
    b.arrange(f"{layer}.{_hook(b)}")
    b.let(f"{layer}({v})")


@move(1)
def patched(b: Builder) -> None:
    """A forward method replaced on an instance."""
    v = b.variable()
    n = b.size(v)[-1]
    layer = b.layer(
        b.one([f"nn.Linear({n}, {n})", "nn.ReLU()", "nn.Softsign()", "nn.Tanh()", "nn.Hardshrink(-1.0)"])
    )
    old = b.fresh("old")
    number = b.number()
    b.arrange(f"{old} = {layer}.forward")
    b.arrange(
        b.one(
            [
                f"{layer}.forward = lambda h, old={old}: {number} * old(h)",
                f"{layer}.forward = types.MethodType("
                f"lambda m, h: {number} * type(m).forward(m, h) + h, {layer})",
                f"{layer}.forward = lambda h: h * {number}",
            ]
        )
    )
    b.let(f"{layer}({v})")


@move(0.3)
def by_mode(b: Builder) -> None:
    v = b.variable()
    b.let(f"{v} if self.training else {b.number()} * {v}")


@move(0.3)
def by_dtype(b: Builder) -> None:
    v = b.variable()
    b.traits.add("dtype")
    b.let(
        b.one(
            [
                f"{v} / ({v}.norm(dim=-1, keepdim=True) + 1000 * torch.finfo({v}.dtype).eps)",
                f"F.rms_norm({v}, ({b.size(v)[-1]},))",
                f"{v} * {{torch.float64: 4.0}}.get({v}.dtype, 1.0)",
            ]
        )
    )


@move(0.5)
def jumps(b: Builder) -> None:
    """Functions that jump: a constant of theirs is infinite."""
    v = b.variable()
    b.let(
        filled(
            b,
            b.one(
                [
                    "F.softplus({v}, 10, 0.5)",
                    "F.threshold({v}, {n}, {n})",
                    "F.hardshrink({v}, {p})",
                    "{v} * ({v} > {n}).to({v}.dtype)",
                    "torch.where({v} > {n}, {v}, {n} * {v})",
                    "torch.sign({v})",
                    "{v} - {v}.floor()",
                    "torch.heaviside({v}, {v}.new_ones(()))",
                    "torch.where({v} > 0, {v}, {n} * {v})",
                    "{v}.argmax(-1, keepdim=True).to({v}.dtype)",
                    "{v} % 1.0",
                    "torch.frac({v})",
                    "F.one_hot({v}.argmax(-1), {v}.shape[-1]).to({v}.dtype)",
                    "{v}.to(torch.int64).to({v}.dtype)",
                    "{v}.sort(-1)[1].to({v}.dtype)",
                    "{v}.masked_fill({v} < {n}, 0.0)",
                    "torch.bucketize({v}, {v}.new_ones(1)).to({v}.dtype)",
                    "F.max_pool1d({v}, 2, return_indices=True)[1] * 1.0",
                ]
            ),
            v,
        )
    )


# What is no function of one sample


@illegitimate
def mixes(b: Builder) -> None:
    v = b.variable()
    b.traits.add("mixes")
    b.let(
        filled(
            b,
            b.one(
                [
                    "{v} - {v}.mean(0)",
                    "{v} / (1 + {v}.abs().sum(0))",
                    "{v} + {v}.flip(0)",
                    "torch.softmax({v}, 0)",
                    "{v}.cumsum(0)",
                    "{v} - {v}[0]",
                    "{v} * {v}.size(0)",
                    "{v} + {v}.roll(1, 0)",
                    "F.batch_norm({v}, None, None, training=True)",
                    "{v} - {v}.amax(0)",
                    "{v}.sort(0)[0]",
                    "{v} + {v}.sum()",
                    "{v}[:1].expand_as({v})",
                    "{v} * (1.0 if {v}.shape[0] == 1 else {n})",
                ]
            ),
            v,
        )
    )


@illegitimate
def counts(b: Builder) -> None:
    v = b.variable()
    b.arrange("self.calls = 0")
    b.do("self.calls += 1")
    b.let(
        b.one(
            [
                f"self.calls * {v}",
                f"{v} if self.calls % 2 else 5 * {v}",
                f"{v} if self.calls < 3 else 100 * {v}",
            ]
        )
    )


@illegitimate
def changes_its_buffer(b: Builder) -> None:
    v = b.variable()
    name = b.buffer("torch.ones(())")
    b.do(
        b.one(
            [
                f"{name}.add_(1)",
                f"{name}.mul_(2)",
                f"{name}.copy_({v}.detach().abs().max())",
                f"{name} = {name} + 1",
            ]
        )
    )
    b.let(f"{name} * {v}")


@illegitimate
def remembers(b: Builder) -> None:
    v = b.variable()
    b.arrange("self.last = None")
    b.do(f"before = {v} if self.last is None or self.last.shape != {v}.shape else self.last")
    b.do(f"self.last = {v}.detach().clone()")
    b.let(f"{v} + 3 * before")


@illegitimate
def draws(b: Builder) -> None:
    v = b.variable()
    b.let(
        b.one(
            [
                f"{v} * torch.rand_like({v})",
                f"F.dropout({v}, 0.5)",
                f"{v} * torch.randn(())",
                f"{v} + torch.rand(1)",
                f"F.rrelu({v}, training=True)",
                f"{v}[:, torch.randperm({v}.shape[1])]",
                f"{v} * torch.bernoulli(torch.full_like({v}, 0.5))",
                f"F.gumbel_softmax({v}, dim=-1)",
            ]
        )
    )


@illegitimate
def asks_for_values(b: Builder) -> None:
    v = b.variable()
    b.traits.add("values")
    b.let(
        filled(
            b,
            b.one(
                [
                    "{v} * {v}.detach().abs().max().item()",
                    "({v} if {v}.sum() > {n} else 5 * {v})",
                    "{v} * float({v}.abs().mean())",
                    "{v} * bool({v}.sum() > 0)",
                    "{v} * torch.tensor({v}.sum().tolist(), dtype={v}.dtype)",
                    "{v} * torch.from_numpy({v}.detach().numpy())",
                    "{v}[{v} > {n}].sum() * {v}",
                    "{v} * int({v}.norm())",
                    "{v} * len({v}.nonzero())",
                    "{v} * torch.unique({v}).shape[0]",
                ]
            ),
            v,
        )
    )


@illegitimate
def asks_whether_it_is_exported(b: Builder) -> None:
    v = b.variable()
    b.let(
        b.one(
            [
                f"{v} if torch.compiler.is_exporting() else 10 * {v}",
                f"{v} if torch.compiler.is_compiling() else 10 * {v}",
                f"{v} if type({v}) is not torch.Tensor else 10 * {v}",
            ]
        )
    )


@illegitimate
def left_in_train_mode(b: Builder) -> None:
    v = b.variable()
    n = b.size(v)[0]
    layer = b.layer(
        b.one(
            [
                "nn.Dropout(0.5)",
                f"nn.BatchNorm1d({n})",
                "nn.RReLU()",
                "nn.AlphaDropout(0.5)",
                "nn.FeatureAlphaDropout(0.5)",
                f"nn.utils.spectral_norm(nn.Linear({b.size(v)[-1]}, 2))",
                "nn.Dropout(0.0)",
            ]
        )
    )
    b.let(f"{layer}({v})")
    b.after.append(f"{layer.replace('self', 'model')}.train()")


@illegitimate
def changes_its_input(b: Builder) -> None:
    b.do(
        filled(
            b,
            b.one(
                [
                    "x += {n}",
                    "x.mul_({n})",
                    "x[:, 0] = {n}",
                    "x.data.mul_({n})",
                    "x = x.relu_()",
                    "x.abs_()",
                ]
            ),
            "x",
        )
    )
    b.admit("x")


# Ends


_OTHER_BATCHES = (
    "{v} * x.new_ones(5, 1, *[1] * ({v}.dim() - 1))",
    "torch.full((5, 1, {v}.shape[-1]), {n}, dtype=x.dtype) * {v}",
    "{v}.clamp(min=torch.zeros(5, 1, {v}.shape[-1], dtype=x.dtype))",
    "torch.maximum({v}, torch.zeros(5, 1, {v}.shape[-1], dtype=x.dtype))",
    "{v} + torch.zeros(5, 1, {v}.shape[-1], dtype=x.dtype)",
    "{v} ** torch.full((5, 1, {v}.shape[-1]), 2.0, dtype=x.dtype)",
    "{v} / torch.full((5, 1, {v}.shape[-1]), 2.0, dtype=x.dtype)",
    "{v} - torch.full((5, 1, 1), 2.0, dtype=x.dtype)",
    "torch.where(torch.ones(5, 1, 1) > 0, {v}, {n})",
    "{v}.masked_fill(torch.zeros(5, 1, 1) > 0, {n})",
    "torch.lerp({v}, torch.ones(5, 1, 1, dtype=x.dtype), 0.25)",
    "{v}.transpose(0, 1)",
    "torch.stack([{v}, {n} * {v}])",
    "{v}.unsqueeze(0)",
    "{v}.expand(3, *{v}.shape)",
    "{v}.sum(0)",
    "{v}[0]",
    "{v}.flatten()",
    "{v}.squeeze()",
    "{v}.movedim(0, -1)",
    "torch.cat([{v}, {v}])",
    "{v}.view(-1, {v}.shape[-1])",
    "torch.atleast_3d({v})",
    "{v} @ {v}.mT",
    "F.prelu({v}, torch.full(({v}.shape[1],), {n}, dtype=x.dtype))",
)
"""Results whose batch is elsewhere than in front, or lost."""

_TYPES = {
    "Pair": "class Pair(dict):\n    pass",
    "Named": "from collections import namedtuple\nNamed = namedtuple('Named', ['logits', 'hidden'])",
    "OrderedDict": "from collections import OrderedDict",
}


def returned(b: Builder) -> str:
    """What the model returns: the last value, or several, nested."""
    last = b.variables[-1]
    other = b.random.choice(b.variables)
    if b.chance(0.65):
        return last
    if b.chance(0.25):
        elsewhere = filled(b, b.one(_OTHER_BATCHES), last)
        return elsewhere if b.runs(elsewhere) else last
    result = b.one(
        [
            f"{last}, {other}",
            f"[{last}, {{'h': {other}}}]",
            f"{{'out': {{'logits': {last}}}, 'features': [{b.number()} * {other}]}}",
            f"Named({last}, {other})",
            f"({last}, None)",
            f"({last}, 3)",
            f"({last}, torch.ones(3))",
            f"{last}.sum(tuple(range(1, {last}.dim())))",
            f"Pair(logits={last})",
            f"({other}.argmax(-1), {last})",
            f"types.SimpleNamespace(logits={last}, h={other})",
            f"({last},)",
            f"{last}, {last}",
            f"{last}, {last}.flip(1), x",
            f"OrderedDict(a={last}, b={other})",
        ]
    )
    for name, source in _TYPES.items():
        if name in result:
            b.helper(source)
    return result


def endings(b: Builder) -> None:
    """Hooks and patches of the whole model."""
    if b.chance(0.06):
        hook = b.one(
            [
                "register_forward_pre_hook(lambda m, i: ({n} * i[0],))",
                "register_forward_hook(lambda m, i, o: (o, {n} * i[0]))",
            ]
        )
        b.after.append(f"model.{filled(b, hook, '')}")
    if b.chance(0.05):
        b.after.append(f"old = model.forward\nmodel.forward = lambda x: old({b.number()} * x)")
