"""What tests of rooms share."""

import json

import yaml

from tests.conftest import ROOT

PAPERS = ROOT / "scripts" / "papers"


def printed(room):
    """The numbers that the paper of a figure or table prints, as its YAML file has them."""
    (file,) = [path for kind in ("figure", "table") for path in PAPERS.glob(f"*/{room}/{kind}.yaml")]
    return yaml.safe_load(file.read_text()).get("printed")


def room_context(room, settings, scale="smoke"):
    """What a room is told about itself; ``settings`` are those of a study, or a mapping."""
    if not isinstance(settings, dict):
        settings = settings.model_dump(mode="json")
    return {"scale": scale, "settings": settings, "departures": [], "printed": printed(room)}


def measured_and_drawn(figure, tables, context):
    """Facts, which have to be JSON, and the drawing, which must not warn."""
    facts = json.loads(json.dumps(figure.measure(tables, context)))
    drawing = figure.draw(tables, facts, context)
    drawing.canvas.draw()
    return facts, drawing


def job_context(room, settings, scale="smoke"):
    """:func:`room_context` as a job gets it, through JSON: keys are strings."""
    return json.loads(json.dumps(room_context(room, settings, scale)))


def judged(claim, room, facts):
    """The finding on a claim of a room by its facts."""
    return claim.judged(room, {room: json.loads(json.dumps(facts))})
