"""Draw figures and tables again, and judge claims, from what is in an archive; nothing is trained."""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from snakemake.exceptions import WorkflowError

from pipeline.archives.about import code_of, installed
from pipeline.archives.contents import DRAWN, targets_of
from pipeline.archives.packing import CONFIG
from pipeline.archives.reading import Archive, opened
from pipeline.archives.restoring import restore
from pipeline.claims.report import plain, read_claims
from pipeline.config.errors import ConfigError, nearest
from pipeline.config.loading import load_config
from pipeline.config.yaml_files import read_mapping
from pipeline.jobs.command import CommandError
from pipeline.provenance.files import OutputError, sha256
from pipeline.snakemake.run_lock import holding
from pipeline.snakemake.setup import WorkflowSetup
from pipeline.snakemake.verification import TARGETS

PROJECT = Path(__file__).resolve().parents[1]

_SHOWN = 5


def main(arguments: argparse.Namespace) -> int:
    """Unpack, draw, and compare with what the archive has; the exit status of snakemake."""
    with opened(arguments.archive) as archive:
        scale = archive.about.scale
        if arguments.scale not in (None, scale):
            raise CommandError(
                f"{archive.path} was made at scale {scale}, and not {arguments.scale}; leave SCALE out"
            )
        settings, setup = _settings(archive)
        targets = [file for word in arguments.targets for file in _targets(archive, setup, word)]
        _check_sources(archive, setup, targets)
        with holding(Path.cwd()):
            unpacked = restore(archive, targets)
        print(
            f"{archive.path}: {unpacked} results unpacked; made by {archive.about.code.words}",
            flush=True,
        )
        status = _draw(settings, targets, arguments.cores)
        if status == 0:
            for line in _compared(archive):
                print(line)
            for table in [file for file in targets if file.endswith("csv")]:
                print(plain(read_claims(Path(table)), scale))
        return status


def _settings(archive: Archive) -> tuple[dict[str, Any], WorkflowSetup]:
    """The settings of the archive, which may be a stranger's, and what they mean to this version."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / CONFIG
        file.write_bytes(archive.config)
        try:
            settings = read_mapping(file, CONFIG)
            config = load_config(settings, PROJECT / "scripts" / "papers")
        except ConfigError as error:
            raise CommandError(
                f"this version of the project does not know the settings in {archive.path}, which "
                f"{archive.about.code.words} has made:\n{error}"
            ) from None
    return settings, WorkflowSetup(config, PROJECT / "scripts")


def _targets(archive: Archive, setup: WorkflowSetup, word: str) -> list[str]:
    """The files in the archive that a target means."""
    scale, drawn = archive.about.scale, archive.drawn
    if word not in TARGETS:
        found = [word] if word in drawn else []
    elif word.startswith("figures"):
        names = setup.figures_made_here if word == "figures" else setup.figures_of_images
        found = [file for name in names if (file := f"figures/{name}.pdf") in drawn]
    elif word == "tables":
        names = setup.reader_tables
        found = [file for name in names if (file := f"results/{scale}/tables/{name}.md") in drawn]
    else:
        found = [file for file in drawn if file == f"results/{scale}/{word}.csv"]
    if not found:
        near = nearest(word, list(drawn))
        raise CommandError(f"{archive.path} has nothing for {word}{near}; it has {targets_of(drawn)}")
    return found


def _check_sources(archive: Archive, setup: WorkflowSetup, targets: Iterable[str]) -> None:
    """Stop where this version of the project draws from tables that the archive lacks."""
    for target in targets:
        name = Path(target).stem
        judged = setup.judged(name) if name.startswith("claims") else [name]
        sources = [table for one in judged for table in setup.tables(one)]
        sources += setup.simulated_of(name) if name.startswith("claims") else []
        if lacking := [file for file in sources if file not in archive.seals]:
            raise CommandError(
                f"{archive.path} lacks {lacking[0]}, from which this version of the project makes "
                f"{target}; use the one that made it: {archive.about.code.words}"
            )


def _draw(settings: dict[str, Any], targets: list[str], cores: str) -> int:
    """Run the rules that draw, and no others, without a GPU, for nothing is trained."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.yaml"
        config.write_text(yaml.safe_dump(settings | {"device": "cpu"}), encoding="utf-8")
        call = [sys.executable, "-m", "snakemake", "--snakefile", str(PROJECT / "Snakefile")]
        call += ["--cores", cores, "--quiet", "host", "reason"]
        call += ["--configfile", str(config), "--replace-workflow-config"]
        call += ["--allowed-rules", *DRAWN, "--forceall", "--", *targets]
        return subprocess.run(call, check=False).returncode


def _compared(archive: Archive) -> list[str]:
    """Whether what was drawn has the bytes that the archive has, and why it may not."""
    there = [file for file in archive.drawn if Path(file).is_file()]
    other = [file for file in there if sha256(Path(file)) != archive.seals[file].sha256]
    if not other:
        return [f"{len(there)} files drawn, byte for byte those of {archive.path}"]
    more = f" and {len(other) - _SHOWN} more" if len(other) > _SHOWN else ""
    lines = [f"{len(other)} of {len(there)} files differ from those of {archive.path}: "]
    lines[0] += ", ".join(other[:_SHOWN]) + more
    here, then, now = code_of(PROJECT), archive.about.packages, installed()
    changed = [f"{p} {then[p]} there and {now[p]} here" for p in then if now.get(p, then[p]) != then[p]]
    if archive.about.code != here:
        changed.insert(0, f"{archive.about.code.words} there and {here.words} here")
    return [*lines, *([f"What else differs: {'; '.join(changed)}"] if changed else [])]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archive", type=Path, help="that make archive has written")
    parser.add_argument(
        "targets",
        nargs="*",
        default=["figures"],
        help=f"{', '.join(TARGETS)}, or files; default: figures",
    )
    parser.add_argument("--scale", help="refuse an archive of another scale")
    parser.add_argument("--cores", default="all")
    try:
        sys.exit(main(parser.parse_intermixed_args()))
    except (CommandError, ConfigError, OutputError, WorkflowError) as error:
        sys.exit(str(error))
