import pytest

from pipeline import fingerprint as module
from pipeline.provenance.fingerprint import fingerprint

FILES = {
    "job.py": '"""A job."""\nfrom pack.core import run\n\nif __name__ == "__main__":\n    run()\n',
    "pack/__init__.py": "",
    "pack/core.py": "import numpy\nfrom pack import shown\n\n"
    "def run():\n    from pack.late import f\n    return f(1)\n",
    "pack/late.py": "def f(x):\n    return x + 1\n",
    "pack/shown.py": "AFFECTS_RESULTS = False\nWORDS = 1\n",
    "pack/other.py": "A = 1\n",
}


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "pack").mkdir()
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)

    def after(name=None, old="", new=""):
        if name is not None:
            text = (tmp_path / name).read_text()
            assert old in text
            (tmp_path / name).write_text(text.replace(old, new))
        module._imported.cache_clear()
        module._parse.cache_clear()
        module._normalised.cache_clear()
        return fingerprint(tmp_path / "job.py")

    return after


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("job.py", "run()\n", "run( )  # a comment\n"),
        ("job.py", "A job.", "Another docstring."),
        ("pack/late.py", "def f(x):\n", 'def f(x):\n    """Adds one."""\n'),
        ("pack/other.py", "1", "2"),
        ("pack/shown.py", "WORDS = 1", "WORDS = 2"),
    ],
)
def test_what_cannot_change_a_result_does_not_count(tree, name, old, new):
    assert tree() == tree(name, old, new)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("job.py", "run()", "run(); run()"),
        ("pack/core.py", "f(1)", "f(2)"),
        ("pack/late.py", "x + 1", "x + 2"),
        ("pack/__init__.py", "", "X = 1"),
        ("pack/shown.py", "AFFECTS_RESULTS = False", "AFFECTS_RESULTS = True"),
    ],
)
def test_what_can_change_a_result_counts(tree, name, old, new):
    assert tree() != tree(name, old, new)
