import pytest

from nets.models import cnn
from papers.khromov_singh_2024.parameters import study, table
from tests.papers.helpers import job_context, printed

ROOM = "parameters"
SETTINGS = study.Settings(
    fcn_widths=(16, 32, 80, 256, 800, 131072),
    depths=(2, 3, 4, 5),
    depths_width=64,
    cnn_widths=(5, 7, 10, 11, 12, 13, 20, 60),
)


@pytest.fixture(scope="module")
def counted():
    return study.study(SETTINGS, {})


def test_every_number_is_that_of_the_paper(counted):
    for name, numbers in printed(ROOM).items():
        ours = counted[counted["table"] == name].set_index("net")["parameters"].to_dict()
        assert ours == numbers


@pytest.mark.parametrize("width", [5, 12, 60])
def test_convolutional_nets_on_the_other_images(width):
    counts = study.parameters(cnn.Settings(), width, (1, 28, 28))
    assert counts == 378 * width**2 + 89 * width


def test_the_paper_stands_beside_our_number_where_it_has_one(counted):
    context = job_context(ROOM, SETTINGS)
    one = study.study(SETTINGS.model_copy(update={"fcn_widths": (64, 80)}), {})
    tables = {ROOM: one}
    shown = table.rows(tables, table.measure(tables, context), context)
    paper = shown[shown["table"] == "S4"].set_index("width")["paper"]
    assert paper["80"] == "4,000"
    assert paper["64"] == ""
    assert (shown["parameters"] == shown["paper"]).sum() == len(shown) - 1
