"""What a page to explore can show of a folder: figures whose numbers are there, at every scale.

Imports neither torch nor pandas, for the Snakefile does it on every call.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from snakemake.exceptions import WorkflowError

from pipeline.config.config import SCALES
from pipeline.config.loading import load_config
from pipeline.jobs.packing import packed
from pipeline.runs import paths
from pipeline.snakemake.setup import IMAGES, WorkflowSetup


@dataclass(frozen=True)
class Explored:
    """The figures of ``folder``, at the scale of the call first and then at the others.

    ``raw`` is the configuration as the call states it.
    """

    setup: WorkflowSetup
    raw: Mapping[str, Any]
    folder: Path

    @cached_property
    def _setups(self) -> list[WorkflowSetup]:
        own, scripts = self.setup.config.scale, self.setup.scripts
        others = [
            WorkflowSetup(load_config({**self.raw, "scale": scale}, scripts / "papers"), scripts)
            for scale in SCALES
            if scale != own and (self.folder / paths.facts(scale, "any")).parent.is_dir()
        ]
        return [self.setup, *others]

    @cached_property
    def _figures(self) -> list[dict[str, Any]]:
        found = [
            self._about(setup, name)
            for setup in self._setups
            for name in setup.figures
            if self._are_there([paths.facts(setup.config.scale, name), *setup.tables(name)])
        ]
        if not found:
            raise WorkflowError(
                "there is no figure to explore yet. Make one first, for example with: snakemake "
                f"--cores 2 --config scale={self.setup.config.scale} -- "
                f"figures/{self.setup.figures_made_here[0]}.pdf"
            )
        return found

    @staticmethod
    def _about(setup: WorkflowSetup, name: str) -> dict[str, Any]:
        room = setup.room(name)
        return {
            "name": name,
            "scale": setup.config.scale,
            "source": setup.config.papers[room.paper].source,
            "module": room.drawing,
            "context": setup.context(name),
            "tables": setup.tables(name),
            "facts": paths.facts(setup.config.scale, name),
        }

    @property
    def figures(self) -> str:
        """All of them for a command line: modules, contexts and files."""
        return packed(self._figures, long=0)

    @property
    def facts(self) -> list[str]:
        """Their facts."""
        return [about["facts"] for about in self._figures]

    @property
    def tables(self) -> list[str]:
        """Their tables, each once."""
        return list(dict.fromkeys(table for about in self._figures for table in about["tables"]))

    @property
    def claims(self) -> list[str]:
        """The verdicts of each scale, with those on images if they are there."""
        return [path for setup in self._setups for path in self._verdicts(setup)[:1]]

    def _verdicts(self, setup: WorkflowSetup) -> list[str]:
        """Tables of claims that are there with all that they were judged by: none is made again."""
        scale = setup.config.scale
        return [
            f"results/{scale}/{name}.csv"
            for name in (IMAGES, "claims")
            if self._are_there(
                [
                    f"results/{scale}/{name}.csv",
                    *setup.facts_of(name),
                    *setup.simulated_of(name),
                    *(table for judged in setup.judged(name) for table in setup.tables(judged)),
                ]
            )
        ]

    @property
    def code(self) -> str:
        """Fingerprint of what draws and shows them."""
        return self.setup.code("explore", {about["module"] for about in self._figures})

    def _are_there(self, files: Iterable[str]) -> bool:
        return all((self.folder / file).exists() for file in files)
