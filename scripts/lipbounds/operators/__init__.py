"""What is known of each operator of a graph: one vocabulary, in rooms by kind.

Every file of this folder that registers rules is found by its place; a new kind is a new file.
"""

import importlib
from pathlib import Path

from lipbounds.operators.analysis import Analysis, Layer
from lipbounds.operators.table import (
    MODULES,
    OPERATORS,
    LayerConstant,
    Local,
    Slopes,
    UnknownLayerError,
    register_rule,
)

for _path in sorted(Path(__file__).parent.glob("[a-z]*.py")):
    importlib.import_module(f"{__name__}.{_path.stem}")

__all__ = [
    "MODULES",
    "OPERATORS",
    "Analysis",
    "Layer",
    "LayerConstant",
    "Local",
    "Slopes",
    "UnknownLayerError",
    "register_rule",
]
