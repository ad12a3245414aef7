"""Start of every call: the configuration is checked and what a killed call left behind is cleared."""

import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from snakemake.exceptions import WorkflowError
from snakemake.shell import shell

from pipeline.config.errors import ConfigError
from pipeline.config.layers import Location, expand
from pipeline.config.loading import COMMAND_LINE, Where, load_config
from pipeline.config.yaml_files import check_size, check_stated_once, read_mapping
from pipeline.downloads.records import forget_lost_files
from pipeline.snakemake.messages import note_interruption, shape_messages, shape_mistakes
from pipeline.snakemake.private import plan_fast, strike_missing_files
from pipeline.snakemake.run_lock import is_occupied, remove_stale_locks
from pipeline.snakemake.setup import WorkflowSetup


def own_config(workflow: Any, base: Path) -> str:
    """The configuration file: that of the working directory, or else of the project in ``base``.

    Raises ``WorkflowError`` where it, or one that the command line names, cannot be read.
    """
    if workflow.is_main_process:
        shape_mistakes(lambda: [rule.name for rule in workflow.rules])
        check_folders(base, Path.cwd())
    own = "config.yaml" if Path("config.yaml").exists() else str(base / "config.yaml")
    check_files(workflow, own, base)
    return own


def check_folders(base: Path, working: Path) -> None:
    """Check that Snakemake works in the folder of the project, and can write where results are to lie.

    Raises ``WorkflowError``, or ``SystemExit`` where Snakemake cannot write the names of the folders.
    """
    if "{" in str(base):
        raise WorkflowError(
            f"the project lies in {base}, and Snakemake takes braces in the path of an "
            "environment for wildcards; give the folder a name without {"
        )
    for folder in (str(base), str(working)):
        if folder.encode(errors="ignore") != os.fsencode(folder):
            sys.exit(  # Snakemake cannot write a WorkflowError, with the path in it, to its log
                f"Error: the name of the folder {folder!a} has letters that the locale does not have; "
                "call with a locale that has them, such as LC_ALL=C.UTF-8"
            )
    if not os.access(working, os.W_OK):
        raise WorkflowError(
            f"{working} cannot be written to, and results are to lie there; call from a folder of your "
            f"own, with: snakemake -s {shlex.quote(str(base / 'Snakefile'))}"
        )


def check_files(workflow: Any, own: str, base: Path) -> None:
    """Check that the files of the configuration can be read, and state each key once.

    ``own`` is the workflow's file, which Snakemake is about to read: of a broken one it would give no
    line, and of two values of a key it would take the last. Raises ``WorkflowError``.
    """
    if not workflow.is_main_process:
        return
    settings = workflow.config_settings
    files = {str(file): Path(file) for file in (own, *(settings.configfiles or ()))}
    try:
        for name, path in files.items():
            if path.exists():
                check_stated_once(read_mapping(path, name), name)
        check_size(settings.config or {}, COMMAND_LINE)
        check_stated_once(settings.config or {}, COMMAND_LINE)
    except ConfigError as error:
        raise WorkflowError(str(error)) from None


def prepare_workflow(workflow: Any, raw_config: Mapping[str, Any], base: Path) -> WorkflowSetup:
    """Check the configuration and clear what a killed call left behind.

    ``workflow`` is Snakemake's object of that name, and the project lies in ``base``. Raises Snakemake's
    ``WorkflowError`` with an explanation and no traceback.
    """
    scripts = base / "scripts"
    try:
        config = load_config(raw_config, scripts / "papers", Sources(workflow))
        setup = WorkflowSetup(config, scripts)
    except ConfigError as error:
        raise WorkflowError(str(error)) from None
    plan_fast()
    if workflow.is_main_process:
        _check_data_root(config.top.data_root, Sources(workflow))
        if not is_occupied(Path.cwd()):  # or else the records are those of a call that is at work
            forget_lost_files(Path.cwd())
            remove_stale_locks(Path.cwd())
            strike_missing_files(Path.cwd())
        shape_messages(setup)
        note_interruption()
        _have_python_found()
    if not workflow.deployment_settings.deployment_method:
        shell.prefix(_before_each_command(scripts / "start.py"))
    return setup


def _have_python_found() -> None:
    """By the commands of profiles for clusters: that of snakemake itself, activated or not."""
    folder, path = str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)
    if path.split(os.pathsep)[0] != folder:
        os.environ["PATH"] = os.pathsep.join([folder, path])


def _before_each_command(start: Path) -> str:
    """Shell text by which jobs run in the environment of snakemake itself, activated or not.

    Commands of this project run by way of start.py, which finds them wherever the working directory is,
    and so that Ctrl-C ends one with one line, whatever it is about to import.
    """
    folder, script = shlex.quote(str(Path(sys.executable).parent)), shlex.quote(str(start))
    ours = f'[ -f {shlex.quote(str(start.parents[1]))}/"$1" ]'
    call = f'if {ours}; then command python {script} "$@"; else command python "$@"; fi'
    text = f"export PATH={folder}:$PATH; python() {{ {call}; }}; "
    return text.replace("{", "{{").replace("}", "}}")  # Snakemake formats it


def _check_data_root(data_root: str | None, where: Where) -> None:
    """Not among the settings: a job on a node of a cluster does without the folder."""
    if data_root is not None and not Path(data_root).expanduser().is_dir():
        mistake = (
            f"{where(('data_root',))}: data_root: {data_root!r} is not a folder; name a folder "
            "where published files of data sets lie or are to lie, or null"
        )
        raise WorkflowError(str(ConfigError([mistake])))


class Sources:
    """Which of the command line, files of the user's and config.yaml states a setting."""

    def __init__(self, workflow: Any) -> None:
        settings = workflow.config_settings
        files = [(str(file), _content(Path(file))) for file in reversed(settings.configfiles or ())]
        self._layers = [(COMMAND_LINE, expand(settings.config or {})), *files]

    def __call__(self, location: Location) -> str:
        """The name of what states the setting at a place."""
        for name, content in self._layers:
            node: Any = content
            for key in location:
                node = node.get(key) if isinstance(node, Mapping) else None
            if node is not None and location:
                return name
        return "config.yaml"


def _content(file: Path) -> Any:
    try:
        return expand(read_mapping(file, str(file)))
    except ConfigError:  # it is not there, for a job on a node of a cluster
        return {}
