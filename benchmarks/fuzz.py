"""Try upper bounds on random models: none may be below a difference quotient, and nothing may crash.

    python benchmarks/fuzz.py [--count 20000] [--seed 0] [--moves 6] [--show SEED]

Every seed is a model whose source is printed where the library fails on it. The exit status is 1 then.
"""

import argparse
import gc
import sys
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT)]

from tests.fuzz.models import Case, case_of  # noqa: E402
from tests.fuzz.trial import FAILURES, Outcome, kind_of_refusal, threads, tried  # noqa: E402


def described(case: Case, outcome: Outcome) -> str:
    """The source of a model and what became of it."""
    options = ", ".join(f"{name}={value!r}" for name, value in case.options.items())
    asked = f"upper_bound(build(), {case.shape}, {options})"
    answer = f"bound {outcome.bound:.8g}, seen {outcome.seen:.8g}"
    lines = [f"# seed {case.seed}: {outcome.kind}, {answer}", f"# {asked}", case.source, outcome.said]
    return "\n".join(lines)


def summary(counts: Counter[str], refusals: Counter[str], kinds: int) -> str:
    """The table of outcomes, and of refusals by kind of message."""
    rows = [f"{count:7d}  {kind}" for kind, count in counts.most_common()]
    rows += ["", "refusals:"] + [f"{count:7d}  {kind}" for kind, count in refusals.most_common(kinds)]
    return "\n".join(rows)


def main() -> int:
    """Runs the trials; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--count", type=int, default=20000)
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--moves", type=int, default=6, help="moves of a forward method, at most")
    parser.add_argument("--show", type=int, help="one seed: its source and what becomes of it")
    parser.add_argument("--kinds", type=int, default=60, help="kinds of refusals to list")
    options = parser.parse_args()
    threads()
    if options.show is not None:
        case = case_of(options.show, options.moves)
        print(described(case, outcome := tried(case)))
        return int(outcome.kind in FAILURES)
    return _many(options)


def _many(options: argparse.Namespace) -> int:
    counts: Counter[str] = Counter()
    refusals: Counter[str] = Counter()
    started = time.perf_counter()
    for number in range(options.count):
        case = case_of(options.seed + number, options.moves)
        outcome = tried(case)
        counts[outcome.kind] += 1
        if outcome.kind == "refused":
            refusals[kind_of_refusal(outcome.said)] += 1
        if outcome.kind in FAILURES:
            print(f"\n{described(case, outcome)}", flush=True)
        _progress(number + 1, options.count, counts, started)
        if number % 200 == 199:
            gc.collect()
    print(f"\n{summary(counts, refusals, options.kinds)}")
    return int(any(counts[kind] for kind in FAILURES))


def _progress(done: int, count: int, counts: Counter[str], started: float) -> None:
    if sys.stderr.isatty() or done % 100 == 0 or done == count:
        spent = time.perf_counter() - started
        failed = sum(counts[kind] for kind in FAILURES)
        end = "" if sys.stderr.isatty() else "\n"
        text = f"\r{done}/{count}, {failed} failed, {spent / done * 1e3:.0f} ms each, {spent:.0f} s"
        print(text, end=end, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
