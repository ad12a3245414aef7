"""What counts in the identity of code, and what does not."""

import pytest

from pipeline.provenance.fingerprint import ImportCycleError, fingerprint, forget, reachable

FILES = {
    "job.py": '"""A job."""\nfrom pack.core import run\nfrom pack import late as later\n\n'
    "def main():\n    run(later.f(2))\n\n"
    'if __name__ == "__main__":\n    main()\n',
    "pack/__init__.py": '"""A package."""\nfrom pack.late import f\n\n__all__ = ["f"]\n',
    "pack/core.py": "from typing import TYPE_CHECKING\nimport numpy\n"
    "from pack.shown import LOG, WORDS\n\n"
    "if TYPE_CHECKING:\n    from pack.other import A\n\n"
    "def run(x):\n    from pack.late import f\n    LOG.info('now')\n    return f(1)\n",
    "pack/late.py": "def f(x):\n    return x + 1\n",
    "pack/shown.py": "from pack import other\nAFFECTS_RESULTS = False\nWORDS = 1\nLOG = None\n",
    "pack/other.py": "A = 1\n",
    "pack/settings.py": "class Section:\n    pass\n",
    "study.py": "from pack.settings import Section\nfrom pack import f\n\n"
    "class Settings(Section):\n    widths: int\n    depth: int = 1\n\n"
    "    @field_validator('widths')\n    def _few(self, x):\n        return x\n\n"
    "    def double(self):\n        return 2 * self.widths\n\n"
    "def study(s):\n    return f(s.widths)\n",
}


class Tree:
    def __init__(self, folder):
        self.folder = folder
        for name, text in FILES.items():
            path = folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)

    def edit(self, name, old, new):
        text = (self.folder / name).read_text()
        assert old in text
        (self.folder / name).write_text(text.replace(old, new))

    def of(self, *names):
        forget()
        return fingerprint([self.folder / name for name in names or ("job.py",)], self.folder)


@pytest.fixture
def tree(tmp_path):
    yield Tree(tmp_path)
    forget()


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("job.py", "run(later", "run( later"),
        ("job.py", "run(later.f(2))", "run(later.f(2))  # a comment"),
        ("job.py", "A job.", "Another docstring."),
        ("job.py", "    main()\n", "    print('the command line')\n    main()\n"),
        ("pack/__init__.py", "A package.", "Names."),
        ("pack/core.py", "LOG.info('now')", "LOG.warning('then')"),
        ("pack/core.py", "    LOG.info('now')\n", ""),
        ("pack/core.py", "from pack.other import A", "from pack.late import f"),
        ("pack/late.py", "def f(x):\n", 'def f(x):\n    """Adds one."""\n'),
        ("pack/other.py", "1", "2"),
        ("pack/shown.py", "WORDS = 1", "WORDS = 2"),
        (
            "job.py",
            "from pack.core import run\nfrom pack import late as later",
            "from pack import late as later\nfrom pack.core import run",
        ),
    ],
)
def test_what_cannot_change_a_result_does_not_count(tree, name, old, new):
    before = tree.of()
    tree.edit(name, old, new)
    assert tree.of() == before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("job.py", "run(later.f(2))", "run(later.f(3))"),
        ("pack/core.py", "f(1)", "f(2)"),
        ("pack/core.py", "import numpy", "import scipy"),
        ("pack/late.py", "x + 1", "x + 2"),
        ("pack/shown.py", "AFFECTS_RESULTS = False", "AFFECTS_RESULTS = True"),
    ],
)
def test_what_can_change_a_result_counts(tree, name, old, new):
    before = tree.of()
    tree.edit(name, old, new)
    assert tree.of() != before


def test_a_package_that_does_something_counts(tree):
    before = tree.of()
    tree.edit("pack/__init__.py", "__all__", "X = 1\n__all__")
    assert tree.of() != before


def test_settings_count_by_their_values_and_methods_by_their_code(tree):
    before = tree.of("study.py")
    tree.edit("study.py", "    depth: int = 1\n", "    depth: int = 1\n    another: int = 3\n")
    tree.edit("study.py", "return x\n", "return 2 * x\n")
    assert tree.of("study.py") == before
    tree.edit("study.py", "2 * self.widths", "3 * self.widths")
    assert tree.of("study.py") != before


def test_a_moved_module_keeps_its_identity(tree):
    before = tree.of(), tree.of("study.py")
    (tree.folder / "depot").mkdir()
    (tree.folder / "pack/late.py").rename(tree.folder / "depot/later.py")
    tree.edit("pack/__init__.py", "pack.late", "depot.later")
    tree.edit("pack/core.py", "pack.late", "depot.later")
    tree.edit("job.py", "from pack import late as later", "import depot.later as later")
    (tree.folder / "pack/core.py").rename(tree.folder / "core.py")
    tree.edit("job.py", "from pack.core import run", "from core import run")
    assert tree.of("study.py") == before[1]
    tree.edit("job.py", "import depot.later as later", "from depot import later as later")
    assert tree.of() == before[0]
    (tree.folder / "job.py").rename(tree.folder / "work.py")
    assert tree.of("work.py") == before[0]


def test_the_same_name_from_another_module_is_another_identity(tree):
    (tree.folder / "pack/twin.py").write_text("def f(x):\n    return x - 1\n")
    before = tree.of("job.py", "pack/twin.py")
    tree.edit("pack/core.py", "from pack.late import f", "from pack.twin import f")
    assert tree.of("job.py", "pack/twin.py") != before


def test_parts_that_are_imported_by_name_are_handed_in(tree):
    (tree.folder / "part.py").write_text("A = 1\n")
    alone, together = tree.of("job.py"), tree.of("job.py", "part.py")
    tree.edit("part.py", "1", "2")
    assert tree.of("job.py") == alone
    assert tree.of("job.py", "part.py") != together


def test_reachable_files_are_those_that_count(tree):
    found = {str(p.relative_to(tree.folder)) for p in reachable([tree.folder / "job.py"], tree.folder)}
    assert found == {"job.py", "pack/core.py", "pack/late.py"}


def test_circles_are_named(tree):
    tree.edit("pack/late.py", "def f", "from pack.core import run\n\ndef f")
    with pytest.raises(ImportCycleError, match=r"pack/core.py -> pack/late.py -> pack/core.py"):
        tree.of()
