"""Train all seeds of one width to the stopping rule; an interrupted call resumes where it was."""

import argparse
import json
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import torch

from nets.training.points import Points, training_subset
from nets.training.run import TrainingRun
from pipeline.config.training import TrainingJob
from pipeline.jobs.command import Command, CommandError, run
from pipeline.jobs.device import choose_device
from pipeline.jobs.memory import keep_freed_memory
from pipeline.jobs.progress import LOG, Progress, Timer
from pipeline.jobs.resume import Callers, Interruption, only_process, state_key
from pipeline.provenance.files import read_tensors, sha256, write_json, write_text
from pipeline.runs.journal import Journal, remove_journals
from pipeline.runs.training_job import build_run, history_csv, summary


def main(arguments: argparse.Namespace) -> None:
    """Train, saving now and then, and write checkpoints, history and summary at the end."""
    keep_freed_memory()
    folder, callers = arguments.checkpoints.parent, Callers()
    with only_process(folder):
        key = state_key(
            arguments.settings,
            arguments.code,
            str(arguments.width),
            sha256(arguments.arrays),
            sha256(arguments.labels),
            torch.__version__,
            choose_device(arguments.device).type,
        )
        if _is_done(arguments, key):
            LOG.info("%s is complete already", folder)
            remove_journals(folder)
            return
        torch.set_num_threads(arguments.threads)
        job = TrainingJob.model_validate_json(arguments.settings)
        train, test, classes = _points(arguments, job)
        about = {"shape": list(train.x.shape[1:]), "classes": classes}
        try:
            training = build_run(job, arguments.width, train, test, classes, _device(arguments))
        except ValueError as error:
            raise CommandError(f"{error}. Nothing was written.") from error
        with closing(_journal(folder, key, job, training, about)) as journal:
            training.store = journal
            _train(training, journal, arguments)
            _write(training, journal, key, about, arguments)
            if callers.alive():
                journal.clear()
            else:  # the next call deletes the outputs of a job whose end snakemake has not seen
                LOG.warning(
                    "snakemake has ended before this job; its final state is kept in %s", journal.path
                )


def _device(arguments: argparse.Namespace) -> torch.device:
    return choose_device(arguments.device)


def _points(arguments: argparse.Namespace, job: TrainingJob) -> tuple[Points, Points, int]:
    """Training points with noisy labels, test points, and the number of classes."""
    arrays, _ = read_tensors(arguments.arrays)
    labels, metadata = read_tensors(arguments.labels)
    train, test = (Points(arrays[f"x_{p}"], labels[f"y_{p}"]) for p in ("train", "test"))
    train = training_subset(train, job.training_points)
    if job.training.batch_size > len(train):
        LOG.warning(
            "training.batch_size is %d and there are %d points: every epoch is one batch",
            job.training.batch_size,
            len(train),
        )
    return train, test, metadata["classes"]


def _journal(
    folder: Path, key: str, job: TrainingJob, training: TrainingRun, about: Mapping[str, Any]
) -> Journal:
    """Where the run keeps what it finds."""
    return Journal(
        folder,
        key,
        training.ensemble.net(0),
        nets=job.seeds * (len({0, *job.training.keep_epochs}) + 1),
        last_epoch=job.training.max_epochs,
        seeds=job.seeds,
        metadata=about,
    )


def _train(training: TrainingRun, journal: Journal, arguments: argparse.Namespace) -> None:
    interruption, save_timer = Interruption(), Timer(arguments.save_every)
    if (state := journal.load()) is None:
        journal.begin()
        training.start()
    else:
        training.restore(*state)
        LOG.info("going on from epoch %d, found in %s", training.epoch, journal.path)
    progress = Progress(f"width {arguments.width:<6}", arguments.progress_every, training.epoch)
    while not training.finished:
        training.advance()
        progress.report(training)
        if save_timer.due() or interruption.requested:
            journal.save(*training.state())
        interruption.exit_if_requested(f"saved epoch {training.epoch} in {journal.path}")


def _write(
    training: TrainingRun,
    journal: Journal,
    key: str,
    about: Mapping[str, Any],
    arguments: argparse.Namespace,
) -> None:
    journal.save(*training.state())  # nothing of the training is lost in a kill between the outputs
    journal.finish(arguments.checkpoints)
    write_text(arguments.history, history_csv(journal.records))
    write_json(
        arguments.summary,
        {
            "width": arguments.width,
            "parameters": training.ensemble.parameter_count,
            **about,
            "seeds": summary(journal.records, training.stopped),
            "settings": json.loads(arguments.settings),
            "code": arguments.code,
            "torch": torch.__version__,
            "device": _device(arguments).type,
            "threads": arguments.threads,
            **training.ensemble.facts,
            "key": key,
        },
    )


def _is_done(arguments: argparse.Namespace, key: str) -> bool:
    """Whether another process has finished this very job while this one waited for it."""
    outputs = (arguments.checkpoints, arguments.history, arguments.summary)
    if not all(path.exists() for path in outputs):
        return False
    return json.loads(arguments.summary.read_bytes()).get("key") == key


if __name__ == "__main__":
    parser = Command(__doc__)
    parser.reads("--arrays", required=True, help="input: prepared data")
    parser.reads("--labels", required=True, help="input: labels")
    parser.add_argument("--width", type=int, required=True)
    parser.add_argument("--settings", required=True, help="pipeline.config.training.TrainingJob as JSON")
    parser.add_argument("--code", default="", help="fingerprint of the program")
    parser.computes()
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--save-every", type=float, default=20, help="seconds")
    parser.add_argument("--progress-every", type=float, default=5, help="seconds")
    parser.add_argument("--checkpoints", type=Path, required=True, help="output: safetensors")
    parser.add_argument("--history", type=Path, required=True, help="output: CSV")
    parser.add_argument("--summary", type=Path, required=True, help="output: JSON")
    run(parser, main)
