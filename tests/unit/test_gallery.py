"""The pages of figures and claims."""

import io
import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline.claims.report import COLUMNS, THEOREM
from pipeline.pages import gallery

ROWS = [
    {
        "claim": "C1",
        "statement": "Bounds grow",
        "reported": "63",
        "estimate": 60,
        "low": 50,
        "high": 70,
        "unit": "growth",
        "verdict": "holds",
        "coverage": 0.948,
        "false_holds": 0.02,
        "rule": "Above 1.",
        "refuted": "they do not",
        "since": "2026-11-28",
        "changes": "2026-11-28: the limit was 2",
        "figure": "curve",
    },
    {
        "claim": "C2",
        "statement": "Bounds fall",
        "estimate": 0.5,
        "low": 0.4,
        "high": 0.6,
        "verdict": "does not hold",
        "rule": "A.",
        "figure": "curve, plain",
        "reason": "a: no",
    },
    {
        "claim": "C3",
        "statement": "Others",
        "verdict": "not tested",
        "rule": "B.",
        "figure": "none",
        "reason": "no data",
    },
    {
        "claim": "D1",
        "kind": THEOREM,
        "statement": "Proved",
        "verdict": "holds",
        "rule": "C.",
        "figure": "none",
        "reason": "by 0 of 200",
    },
]
NUMBERS = ("estimate", "low", "high", "coverage", "false_holds")
CLAIMS = pd.DataFrame(
    [
        {name: row.get(name, np.nan if name in NUMBERS else "") for name in COLUMNS}
        | {"source": "A paper"}
        for row in ROWS
    ]
)


def png(width=400, height=200, noise=True):
    values = np.random.default_rng(0).integers(0, 255, (height // 4, width // 4, 3), np.uint8)
    picture = Image.fromarray(values if noise else np.full_like(values, 255)).resize((width, height))
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


@pytest.fixture
def root(tmp_path):
    for folder in ("figures", "docs/figures", "results/laptop"):
        (tmp_path / folder).mkdir(parents=True)
    for name, scale in (("curve", "laptop"), ("plain", "laptop"), ("small", "smoke")):
        (tmp_path / "figures" / f"{name}.png").write_bytes(png(noise=name == "curve"))
        (tmp_path / "figures" / f"{name}.json").write_text(json.dumps({"scale": scale}))
    CLAIMS.to_csv(tmp_path / "results" / "laptop" / "claims.csv", index=False)
    return tmp_path


def room(name):
    shows = "Everything grows." if name == "curve" else ""
    about = SimpleNamespace(caption=f"Caption of {name}. More\nof it.", shows=shows)
    return SimpleNamespace(name=name, about=about)


@pytest.fixture
def pages(root):
    setup = SimpleNamespace(
        figures=["curve", "plain", "small"], config=SimpleNamespace(scale="laptop"), room=room
    )
    gallery.write_pages(root, setup, "a machine", "2026-11-21")
    return {path.stem: path.read_text() for path in (root / "docs").glob("*.md")}


def section(text, name):
    return text.partition(f"## `{name}`")[2].partition("## `")[0]


def test_figures_have_picture_words_and_verdicts(pages):
    curve, plain = (section(pages["gallery"], name) for name in ("curve", "plain"))
    assert "![Caption of curve](figures/curve.png)" in curve
    assert "Everything grows." in curve
    assert "*Caption of curve. More of it.*" in curve
    assert "- **holds** (C1, A paper): Bounds grow (here 60 [50, 70] (growth); paper: 63)." in curve
    assert "- **does not hold** (C2, A paper): Bounds fall" in curve
    assert "\nCaption of plain. More of it.\n" in plain
    assert "- **does not hold** (C2, A paper)" in plain
    assert "C1" not in plain
    assert "No claim of a paper is judged by this figure." in section(pages["gallery"], "small")
    assert "Machine: a machine. Written: 2026-11-21." in pages["gallery"]


def test_figures_of_another_scale_are_not_shown(root, pages):
    assert "Not drawn yet." in section(pages["gallery"], "small")
    assert sorted(path.name for path in (root / "docs" / "figures").iterdir()) == [
        "curve.png",
        "plain.png",
    ]


def test_claims_have_their_own_page(pages):
    text = pages["claims"]
    assert text.startswith("# What the papers claim")
    assert "Machine: a machine. Written: 2026-11-21." in text
    assert "[curve](figures/curve.png), [plain](figures/plain.png)" in text
    assert "1 holds, 0 holds in part, 0 undecided, 1 does not hold, 1 not tested, of 3 emp" in text
    assert "of 1 theorems 1 hold on all of their random instances" in text
    assert "| 0.95 | 0.02 | **holds** |" in " ".join(text.split())
    assert (
        "- **C1.** Above 1. Refuted: They do not. Rule of: 2026-11-28. Changed after its result had "
        "been seen: 2026-11-28: the limit was 2." in text
    )
    assert "no data" in text
    assert "- **C2.** A. *a: no.*" in text


def test_without_claims_the_way_to_make_them_is_named(root):
    (root / "results" / "laptop" / "claims.csv").unlink()
    setup = SimpleNamespace(figures=[], config=SimpleNamespace(scale="laptop"))
    with pytest.raises(SystemExit, match="make claims"):
        gallery.write_pages(root, setup, "", "")


def test_rare_colours_of_a_picture_stay_as_they_are():
    """Of a thousand shades of a map the marks of a legend are a few pixels."""
    shades = np.linspace(0, 255, 300 * 200).reshape(200, 300)
    colours = np.stack([shades, shades[::-1], 0.5 * shades], axis=2).astype(np.uint8)
    colours[50:56, 50:56] = mark = (213, 94, 0)
    buffer = io.BytesIO()
    Image.fromarray(colours).save(buffer, format="PNG")
    with Image.open(io.BytesIO(gallery.small_png(buffer.getvalue()))) as picture:
        kept = np.array(picture.convert("RGB").getpixel((52, 52)))
    assert abs(kept - mark).max() < 24


def test_pictures_get_small_and_keep_their_shape():
    content = gallery.small_png(png(), largest=20_000)
    assert len(content) <= 20_000 < len(gallery.small_png(png()))
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.width / picture.height == pytest.approx(2, rel=0.02)
    white = gallery.small_png(png(1600, 800, noise=False))
    with Image.open(io.BytesIO(white)) as picture:
        assert picture.width == 1400
        assert picture.convert("RGB").getpixel((5, 5)) == (255, 255, 255)
    assert gallery.small_png(png()) == gallery.small_png(png())
