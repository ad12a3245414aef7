"""The checkpoints of a run that a study measures."""

from collections.abc import Collection

from pipeline.runs.run import Checkpoint, Run


def checkpoints_at(run: Run, epochs: Collection[int], seeds: int | None = None) -> list[Checkpoint]:
    """Initialisation, the stop, and those after ``epochs`` epochs, by seed and epoch.

    ``seeds`` takes the first few only. Epochs behind the stop are left out, and so are the nets
    that diverged. Raises ``ValueError`` for epochs before the stop at which no net was kept.
    """
    ends = {s["seed"]: (s["epochs"], s["stop_reason"] == "diverged") for s in run.seeds()[:seeds]}
    kept = {(c.seed, c.epoch): c for c in run.every_checkpoint()}
    chosen = []
    for seed, (end, diverged) in sorted(ends.items()):
        wanted = {0, *(epoch for epoch in epochs if epoch < end), *([] if diverged else [end])}
        if missing := sorted(epoch for epoch in wanted if (seed, epoch) not in kept):
            raise ValueError(
                f"{run.experiment}, width {run.width}, seed {seed}: no net was kept after "
                f"{', '.join(map(str, missing))} epochs; choose epochs among keep_epochs"
            )
        chosen += [kept[seed, epoch] for epoch in sorted(wanted)]
    return chosen
