"""What the rules ask for: paths, and the parameters that a job depends on.

Imports neither torch nor pandas, for the Snakefile does it on every call.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snakemake.exceptions import WorkflowError

from pipeline.config.errors import nearest
from pipeline.config.rooms import Room
from pipeline.runs import paths
from pipeline.snakemake.jobs import Jobs
from pipeline.snakemake.reporting import drawn_at, reports

_EPOCHS = "_epochs"

IMAGES = "claims_images"
"""The table of claims that has those on images too."""


@dataclass(frozen=True)
class WorkflowSetup(Jobs):
    """:class:`Jobs`, with figures, tables for readers and claims."""

    @property
    def figures(self) -> list[str]:
        """Names of all figure targets."""
        return self.config.figures

    @property
    def figures_made_here(self) -> list[str]:
        """Names of the figures that need nothing published: their data come out of a generator."""
        return [name for name in self.figures if not self.published_for(name)]

    @property
    def figures_of_images(self) -> list[str]:
        """Names of the others, without those whose data are not to be had."""
        without = set(self.config.top.without)
        return [
            name for name in self.figures if (data := self.published_for(name)) and not data & without
        ]

    def published_for(self, name: str) -> set[str]:
        """Folders of the published files that a figure, or a table for readers, needs."""
        used: set[str] = set()
        for source in self._sources(name):
            if source in self.config.studies:
                used |= set(self.study_data(source))
            else:
                used |= {self.config.setup(variant).dataset for variant in self.config.variants(source)}
        return {folder for dataset in used for folder in self.published_folders(dataset)}

    @property
    def reader_tables(self) -> list[str]:
        """Names of all tables for readers."""
        return self.config.reader_tables

    def room(self, name: str) -> Room:
        """A figure or table for readers. Raises ``WorkflowError`` for an unknown one."""
        if name not in (*self.figures, *self.reader_tables):
            near = nearest(name, [*self.figures, *self.reader_tables])
            known = ", ".join(self.figures)
            raise WorkflowError(f"there is no figure named {name}{near}. Figures to be had: {known}")
        return self.config.rooms[name]

    def drawing_code(self, command: str, name: str) -> str:
        """Fingerprint of what measures, draws or tabulates a room, with the parts of its trainings."""
        used = [self.room(name).drawing]
        for source in self._sources(name):
            if source in self.config.trainings:
                for variant in self.config.variants(source):
                    used += self.config.training_job(variant).parts()
        return self.code(command, used)

    def tables(self, name: str) -> list[str]:
        """The tidy tables that a figure, or a table for readers, is made from."""
        return [paths.table(self.config.scale, table) for table in self.room(name).tables]

    def judged(self, table: str) -> list[str]:
        """The figures and tables for readers whose facts a table of claims judges.

        ``claims`` has those that need nothing published, and ``claims_images`` all.
        """
        images = self.figures_of_images if table == IMAGES else []
        return sorted([*self.figures_made_here, *images, *self.reader_tables])

    def default_targets(self, words: Iterable[str]) -> list[str]:
        """All figures; for a command line that asks for a report, what is there for it."""
        if reports(words):
            return self.reported(Path.cwd())
        return [f"figures/{name}.pdf" for name in self.figures_made_here]

    def reported(self, folder: Path) -> list[str]:
        """What a report can show of what is in ``folder``: figures, tables for readers, and verdicts.

        Each was made at this scale, and what it was made from is there. Raises ``WorkflowError`` where
        there is no figure.
        """
        scale = self.config.scale
        found = [f"figures/{name}.pdf" for name in self.figures if self._can_be_shown(folder, name)]
        if not found:
            raise WorkflowError(self._nothing_to_report(folder))
        for name in self.reader_tables:
            own = [f"results/{scale}/tables/{name}.{ending}" for ending in ("md", "json")]
            if self._are_there(folder, [*own, *self.tables(name)]):
                found.append(own[0])
        for name in ("claims", IMAGES):
            own = [f"results/{scale}/{name}.{ending}" for ending in ("csv", "md")]
            tables = [table for judged in self.judged(name) for table in self.tables(judged)]
            facts = [*self.facts_of(name), *self.simulated_of(name)]
            if self._are_there(folder, [*own, *facts, *tables]):
                found.append(own[0])
        return found

    def _nothing_to_report(self, folder: Path) -> str:
        scale = self.config.scale
        said = f"there is no figure at scale {scale} to report yet."
        others = sorted({drawn_at(folder, name) for name in self.figures} - {"", scale})
        if others:
            ask = " or ".join(f"--config scale={other}" for other in others)
            said += f" For those that have been made at another scale, add {ask}."
        return (
            f"{said} Make one first, for example with: snakemake --cores 2 --config scale={scale} -- "
            f"figures/{self.figures_made_here[0]}.pdf"
        )

    def _are_there(self, folder: Path, files: Iterable[str]) -> bool:
        return all((folder / file).exists() for file in files)

    def _can_be_shown(self, folder: Path, name: str) -> bool:
        drawn = [f"figures/{name}.pdf", f"figures/{name}.png"]
        sources = [table.removesuffix(_EPOCHS) for table in self.room(name).tables]
        tables = [paths.table(self.config.scale, source) for source in sources]
        if not self._are_there(folder, (*drawn, *tables)):
            return False
        return drawn_at(folder, name) == self.config.scale

    def facts_of(self, table: str) -> list[str]:
        """The facts that a table of claims judges."""
        return [paths.facts(self.config.scale, name) for name in self.judged(table)]

    def simulated_of(self, table: str) -> list[str]:
        """The same on simulated tables, if any are to be made."""
        if self.config.simulations == 0:
            return []
        return [paths.simulated(self.config.scale, name) for name in self.judged(table)]

    def _claim_sources(self, table: str) -> list[dict[str, str]]:
        found = []
        for name in self.judged(table):
            room = self.config.rooms[name]
            source = self.config.papers[room.paper].source
            found.append({"module": room.drawing, "figure": name, "source": source})
        return found

    def claim_sources(self, table: str) -> str:
        """Modules with claims, figures whose facts they judge, and whose claims they are, as JSON."""
        return json.dumps(self._claim_sources(table))

    def claims_code(self, table: str) -> str:
        """Fingerprint of all claims of a table."""
        return self.code("judge_claims", [one["module"] for one in self._claim_sources(table)])

    def figure_caption(self, figure: str) -> str:
        """Caption of a figure in the report, with the scale it is drawn at, as reStructuredText."""
        caption = re.sub(r"([\\*`|]|(?<=\w)_(?!\w))", r"\\\1", self.room(figure).about.caption.strip())
        return f"{caption} Scale: {self.config.scale}."

    def context(self, name: str) -> str:
        """What a figure, or a table for readers, is told about itself, as JSON.

        Settings are those of its only training or study, or by name if it has several.
        """
        sources = self._sources(name)
        settings = {source: self._settings(source) for source in sources}
        about = self.room(name).about
        return json.dumps(
            {
                "scale": self.config.scale,
                "settings": settings[sources[0]] if len(sources) == 1 else settings,
                "departures": [row for source in sources for row in self._departures(source)],
                "printed": about.printed,
                "paper": about.paper,
                "caption": about.caption,
            },
            ensure_ascii=False,
        )

    def all_code(self, name: str) -> str:
        """Fingerprints of the program of each step behind a figure or table, as JSON."""
        code: dict[str, str] = {}
        for source in self._sources(name):
            if source in self.config.trainings:
                code["collect"] = self.code("collect")
                for variant in self.config.variants(source):
                    code[f"train {variant}"] = self.training_code(variant)
                    code[f"estimate_bounds {variant}"] = self.bounds_code(variant)
            else:
                code[f"study {source}"] = self.study_code(source)
        command = "draw" if self.room(name).kind == "figure" else "make_table"
        code[command] = self.drawing_code(command, name)
        return json.dumps(code)

    def _sources(self, name: str) -> list[str]:
        """Trainings and studies behind a room, a study behind the trainings that it measures."""
        found: list[str] = []
        for table in self.room(name).tables:
            source = table
            if table not in self.config.trainings and table not in self.config.studies:
                source = table.removesuffix(_EPOCHS)
            about = self.config.about_studies.get(source)
            found += [*(about.runs if about else ()), source]
        return list(dict.fromkeys(found))

    def _departures(self, source: str) -> list[dict[str, Any]]:
        return [{"of": source} | row for row in self.config.departures(source)]

    def _settings(self, source: str) -> dict[str, Any]:
        if source in self.config.studies:
            return self.config.study(source).model_dump(mode="json")
        settings = self.config.setup(source).model_dump(mode="json")
        return settings | {"random_seed": self.config.top.random_seed}
