"""Broken configurations, drawn at random: one change to the YAML files, to config.yaml or to overrides.

``python -m tests.fuzz.configurations 10000`` runs that many and counts what came of them.
"""

import copy
import random
import shutil
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipeline.config.errors import ConfigError
from pipeline.config.loading import COMMAND_LINE, load_config
from pipeline.config.rooms import PAPERS
from pipeline.config.yaml_files import check_stated_once, read_mapping

ROOT = Path(__file__).parents[2]
CONFIG = "config.yaml"

SETUPS = ("double_descent", "double_descent_mse", "cnn_cifar10")
ROOMS = ("depth", "toy", "distribution", "subsampling")
"""Of Khromov and Singh: enough to have every kind of file, and few enough to be read in no time."""

NUMBERS = [
    True,
    False,
    "0.1",
    "7",
    "1e-3",
    10**30,
    -(10**30),
    2**64,
    float("nan"),
    float("inf"),
    float("-inf"),
]
"""None of which may stand where a number does."""

ODD: list[Any] = [
    *NUMBERS,
    None,
    -1,
    0,
    0.5,
    1,
    3,
    10**400,
    16**5000,
    "",
    "a b; $(c) `d` 'e' \"f\"\n\x1b[0m",
    "ü\u2028\U0001f600",
    b"\xff\x00",
    [],
    [[]],
    [1, 1],
    [True],
    [None, {"a": 1}],
    {},
    {"name": "none"},
    {"name": 3},
    {1: 2, None: 3},
    {"a": {"b": {"c": {"d": 1}}}},
    {"variants": {"a~1": {"widths": [3]}}},
]

TEXTS = [
    b"\xff",
    b"\x00",
    b"\xe9",
    b"\t",
    b"[",
    b"{",
    b"]",
    b": ",
    b"- ",
    b"&a [*a]",
    b"*b",
    b"!!python/object:os.system x",
    b"!!timestamp x",
    b"!!int x",
    b"2001-99-99",
    b"%",
    b"---\n",
    b"'",
    b'"',
    b"? [1]\n: 2\n",
    b"9" * 5000,
    b"[" * 100_000,
    b"- " * 50_000,
    b"<<: 3\n",
    b"a: &a {b: *a}\n",
    b"a: &a [1,1,1,1,1,1,1,1]\nb: &b [*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\n"
    b"d: &d [*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e]\n",
]


@dataclass
class Case:
    """A broken configuration: what was done, whether it must be refused, and how it is loaded."""

    done: str
    nonsense: bool
    load: Callable[[], Any]


class Rooms:
    """A copy of a few rooms in a folder, and the configurations that are made of them."""

    def __init__(self, folder: Path) -> None:
        self.papers = folder / "papers"
        paper = self.papers / "khromov_singh_2024"
        own = PAPERS / "khromov_singh_2024"
        for room in ROOMS:
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(own / room, paper / room, ignore=ignored)
        (paper / "setups").mkdir()
        for name in ("paper.yaml", *(f"setups/{setup}.yaml" for setup in SETUPS)):
            shutil.copy(own / name, paper / name)
        self.files = sorted(self.papers.rglob("*.yaml"))
        self.raw = yaml.safe_load((ROOT / CONFIG).read_text())
        self.config = folder / CONFIG
        self.config.write_bytes((ROOT / CONFIG).read_bytes())

    def case(self, draw: random.Random) -> Case:
        """A configuration with one mistake, most likely."""
        makers = (self._text, self._value, self._value, self._twice, self._override, self._override)
        return draw.choice(makers)(draw)

    def load(self, raw: dict[str, Any] | None = None, file: str = CONFIG) -> Any:
        """Read everything as a call of Snakemake does."""
        if raw is None:
            raw = read_mapping(self.config, CONFIG)
            check_stated_once(raw, CONFIG)
        return load_config(raw, self.papers, lambda location: file)

    def _with(self, path: Path, content: bytes) -> Callable[[], Any]:
        def load() -> Any:
            before = path.read_bytes()
            path.write_bytes(content)
            try:
                return self.load()
            finally:
                path.write_bytes(before)

        return load

    def _text(self, draw: random.Random) -> Case:
        """Bytes are put into a file, taken out of it, or moved."""
        path = draw.choice([*self.files, self.config])
        content = path.read_bytes()
        at = draw.randrange(len(content))
        match draw.randrange(4):
            case 0:
                new = content[:at] + (text := draw.choice(TEXTS)) + content[at:]
                done = f"{text[:20]!r} at byte {at}"
            case 1:
                new, done = content[:at], f"cut at byte {at}"
            case 2:
                new, done = content[:at] + content[at + draw.randint(1, 40) :], f"a hole at byte {at}"
            case _:
                new = bytearray(content)
                new[at] ^= 1 << draw.randrange(8)
                done = f"a bit of byte {at}"
        return Case(f"{path.name}: {done}", False, self._with(path, bytes(new)))

    def _value(self, draw: random.Random) -> Case:
        """A value is replaced or deleted, or a key is renamed or added."""
        path = draw.choice([*self.files, self.config])
        tree = yaml.safe_load(path.read_text())
        place = draw.choice(list(places(tree)))
        new = copy.deepcopy(tree)
        holder, key = _holder(new, place)
        value, action, nonsense = draw.choice(ODD), draw.randrange(5), False
        if action == 0:
            del holder[key]
        elif action == 1 and isinstance(holder, dict):
            holder[draw.choice(["nam", "name", 3, None, "widths", "a.b"])] = value
        elif action == 2 and isinstance(holder, dict):
            holder[f"{key}s"] = holder.pop(key)
        else:
            numeric = _is_number(holder[key]) and _is_setting(place)
            nonsense = numeric and any(value is number for number in NUMBERS)
            holder[key] = value
        try:
            content = yaml.safe_dump(new, allow_unicode=True, sort_keys=False).encode()
        except ValueError:  # more digits than Python writes
            content = b"a: " + b"9" * 5000
        done = f"{path.name}: {place}: {action} with {type(value)!s} {_short(value)}"
        return Case(done, nonsense, self._with(path, content))

    def _twice(self, draw: random.Random) -> Case:
        """A line of a key and its value stands twice."""
        path = draw.choice([*self.files, self.config])
        lines = path.read_text().splitlines(keepends=True)
        line = draw.choice(list(lines_of_keys(path.read_text())))
        content = "".join([*lines[: line + 1], lines[line], *lines[line + 1 :]]).encode()
        done = f"{path.name}: twice {lines[line].strip()!r}"
        return Case(done, True, self._with(path, content))

    def _override(self, draw: random.Random) -> Case:
        """A setting is overridden, in a file or on the command line."""
        file = draw.choice(self.files)
        tree = yaml.safe_load(file.read_text())
        if file.parent.name != "setups":
            tree = tree.get("training") or tree.get("study") or {}
        name = file.stem if file.parent.name == "setups" else file.parent.name
        settings = [place for place in places(tree) if _is_setting(place)]
        if not settings:
            return self._value(draw)
        place = draw.choice(settings)
        value = draw.choice(ODD)
        holder, key = _holder(tree, place)
        list_at = next((n for n, key in enumerate(place) if isinstance(key, int)), len(place))
        nonsense = _is_number(holder[key]) and any(value is number for number in NUMBERS)
        if list_at < len(place):
            value = [*holder[:key], value, *holder[key + 1 :]] if list_at == len(place) - 1 else value
            nonsense = nonsense and list_at == len(place) - 1
        path = ".".join([name, *map(str, place[:list_at])])
        raw = copy.deepcopy(self.raw) | {"overrides": {path: value}}
        where = draw.choice([CONFIG, COMMAND_LINE])
        if where == COMMAND_LINE and not isinstance(value, dict):
            nonsense = nonsense and not _is_text_of_number(value)
        done = f"{where}: {path}: {_short(value)}"
        return Case(done, nonsense, lambda: self.load(raw, where))


def places(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of all values and sections in a tree."""
    if path:
        yield path
    parts = tree.items() if isinstance(tree, dict) else enumerate(tree if isinstance(tree, list) else ())
    for key, part in parts:
        yield from places(part, (*path, key))


def lines_of_keys(text: str) -> Iterator[int]:
    """Lines that are a key and its value and nothing else."""
    waiting = [yaml.compose(text)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                waiting.append(value)
                line = key.start_mark.line
                whole = not node.flow_style and line == value.end_mark.line
                if whole and isinstance(value, yaml.ScalarNode) and value.style not in ("|", ">"):
                    yield line
        elif isinstance(node, yaml.SequenceNode):
            waiting += [part for part in node.value if not isinstance(part, yaml.MappingNode)]


def _holder(tree: Any, place: tuple[Any, ...]) -> tuple[Any, Any]:
    for key in place[:-1]:
        tree = tree[key]
    return tree, place[-1]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_setting(place: tuple[Any, ...]) -> bool:
    """Not a number that a paper prints, say, which may be anything."""
    return bool({"paper", "laptop", "smoke"} & set(place)) and not {"printed", "departs"} & set(place)


def _is_text_of_number(value: Any) -> bool:
    """Snakemake hands numbers on the command line on as texts."""
    return any(isinstance(one, str) for one in (value if isinstance(value, list) else [value]))


def _short(value: Any) -> str:
    try:
        return repr(value)[:60]
    except ValueError:
        return "digits"


def outcome(case: Case) -> str:
    """``accepted``, ``refused``, or what is wrong with that in words."""
    try:
        case.load()
    except ConfigError as error:
        for problem in error.problems:
            if "\n" in problem or not 10 < len(problem) < 3000 or ": " not in problem:
                return f"no sentence: {problem!r}"
        return "refused"
    except Exception:
        return f"traceback: {traceback.format_exc()}"
    return "nonsense accepted" if case.nonsense else "accepted"


def outcomes(count: int, seed: int, folder: Path) -> Iterator[tuple[str, str]]:
    """What was done to each configuration, and what came of it."""
    rooms, draw = Rooms(folder), random.Random(seed)
    rooms.load()
    for _ in range(count):
        case = rooms.case(draw)
        yield case.done, outcome(case)


def main(count: int, seed: int = 0) -> None:
    """Print the counts, and whatever is neither accepted nor refused."""
    found: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for done, came in outcomes(count, seed, Path(folder)):
            found[came.partition(":")[0]] += 1
            if came not in ("accepted", "refused"):
                print(f"{done}\n    {came}", flush=True)
    print(dict(found))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
