"""The metadata of an archive, as a Process Run Crate 0.5: an RO-Crate 1.1 with an action for each job.

https://w3id.org/ro/crate/1.1 and https://w3id.org/ro/wfrun/process/0.5
"""

import mimetypes
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import quote

from pipeline.archives.about import About
from pipeline.provenance.seals import Seal

NAME = "ro-crate-metadata.json"

_CRATE = "https://w3id.org/ro/crate/1.1"
_PROCESS = "https://w3id.org/ro/wfrun/process/0.5"
_LICENSE = "https://spdx.org/licenses/Apache-2.0"
_TYPES = {
    ".md": "text/markdown",
    ".safetensors": "application/octet-stream",
    ".yaml": "application/yaml",
    ".cff": "application/yaml",
}

Entity = dict[str, Any]


class Part(NamedTuple):
    """A file of an archive: its size in bytes, its SHA-256, and what it is."""

    size: int
    sha256: str
    description: str = ""


def metadata(about: About, parts: Mapping[str, Part], seals: Mapping[str, Seal]) -> Entity:
    """The JSON-LD of an archive of ``parts``, some of which have seals."""
    newest = max(seal.written for seal in seals.values())
    actions = [_action(step.name, step.rule, [seals[f] for f in step.outputs]) for step in about.steps]
    rules = sorted({step.rule for step in about.steps})
    inputs = {name: sha for seal in seals.values() for name, sha in seal.made_from.items()}
    absent = {name: sha for name, sha in sorted(inputs.items()) if name not in parts}
    for action in actions:
        read = [_ref(_id(n) if n in parts else f"#{_id(n)}") for n in action.pop("object")]
        action |= {"object": _alone(read)} if read else {}
    return {
        "@context": [f"{_CRATE}/context", "https://w3id.org/ro/terms/workflow-run/context"],
        "@graph": [
            _descriptor(),
            _root(about, newest, parts, actions),
            *_licence_and_profile(),
            *(_file(name, part, seals.get(name)) for name, part in sorted(parts.items())),
            *(_absent(name, sha) for name, sha in absent.items()),
            *(_program(rule, about) for rule in rules),
            *actions,
        ],
    }


def files_of(content: Mapping[str, Any]) -> dict[str, Part]:
    """The files that :func:`metadata` lists. Raises ``ValueError`` or ``LookupError`` for nonsense."""
    return {
        entity["name"]: Part(int(entity["contentSize"]), entity["sha256"])
        for entity in content["@graph"]
        if entity["@type"] == "File"
    }


def _descriptor() -> Entity:
    return {
        "@id": NAME,
        "@type": "CreativeWork",
        "about": _ref("./"),
        "conformsTo": _ref(_CRATE),
        "description": "What is in this archive, after the RO-Crate specification",
    }


def _root(about: About, newest: int, parts: Iterable[str], actions: Iterable[Entity]) -> Entity:
    return {
        "@id": "./",
        "@type": "Dataset",
        "name": f"Results of: {about.code.title} ({about.scale} scale)",
        "description": (
            f"Figures, tables, facts and verdicts of a finished run at {about.scale} scale, and what "
            f"they were made from; made by {about.code.words}. README.md says how to use them."
        ),
        "datePublished": _time(newest),
        "license": _ref(_LICENSE),
        "conformsTo": _ref(_PROCESS),
        "hasPart": [_ref(_id(name)) for name in sorted(parts)],
        "mentions": _alone([_ref(action["@id"]) for action in actions]),
    }


def _licence_and_profile() -> list[Entity]:
    return [
        {
            "@id": _LICENSE,
            "@type": "CreativeWork",
            "name": "Apache License 2.0",
            "description": "A permissive licence with a grant of patent rights",
        },
        {"@id": _PROCESS, "@type": "CreativeWork", "name": "Process Run Crate", "version": "0.5"},
    ]


def _file(name: str, part: Part, seal: Seal | None) -> Entity:
    ending = f".{name.rpartition('.')[2]}"
    kind = _TYPES.get(ending) or mimetypes.guess_type(name)[0] or "application/octet-stream"
    about = {"description": part.description} if part.description else {}
    changed = {"dateModified": _time(seal.written)} if seal is not None else {}
    return {
        "@id": _id(name),
        "@type": "File",
        "name": name,
        "encodingFormat": kind,
        "contentSize": str(part.size),
        "sha256": part.sha256,
        **about,
        **changed,
    }


def _absent(name: str, sha256: str) -> Entity:
    """A file that a job has read and that is not in the archive, known by its checksum."""
    return {"@id": f"#{_id(name)}", "@type": "CreativeWork", "name": name, "sha256": sha256}


def _program(rule: str, about: About) -> Entity:
    return {
        "@id": f"#{rule}",
        "@type": "SoftwareApplication",
        "name": f"{about.code.title}: rule {rule}",
        "softwareVersion": about.code.version,
        "description": f"scripts/{rule}.py of {about.code.words}",
    }


def _action(name: str, rule: str, outputs: list[Seal]) -> Entity:
    """What a job read and wrote; files by their names, which :func:`metadata` makes references of."""
    return {
        "@id": f"#job/{_id(name)}",
        "@type": "CreateAction",
        "name": name,
        "description": f"The job of rule {rule} that wrote {', '.join(seal.file for seal in outputs)}",
        "instrument": _ref(f"#{rule}"),
        "object": sorted({source for seal in outputs for source in seal.made_from}),
        "result": _alone([_ref(_id(seal.file)) for seal in outputs]),
        "endTime": _time(max(seal.written for seal in outputs)),
    }


def _alone(values: list[Entity]) -> Entity | list[Entity]:
    """One value without its list, as the specification wants it."""
    return values[0] if len(values) == 1 else values


def _ref(identity: str) -> Entity:
    return {"@id": identity}


def _id(name: str) -> str:
    return quote(name)


def _time(nanoseconds: int) -> str:
    return datetime.fromtimestamp(nanoseconds // 10**9, UTC).isoformat()
