"""Tables along training with known answers, and what the tests of their figures share."""

import json
import math

import pandas as pd

EPOCHS = [0, 1, 10, 100, 200, 500, 1000]
TRAINING = {
    "learning_rate": 0.1,
    "schedule": {"name": "warmup_step", "warmup_updates": 80, "drop_epochs": [], "drop_factor": 1.0},
    "batch_size": 512,
    "target_gradient_norm": 0.01,
    "min_epochs": 10,
    "max_epochs": 1000,
}


def context(*names):
    settings = {"training": TRAINING}
    return {"scale": "laptop", "settings": dict.fromkeys(names, settings) if names else settings}


def epochs_table(
    power=0.5, start=0.4, variant="base", width=256, seeds=3, epochs=EPOCHS, factor=1.0, **more
):
    """C_lower is ``factor * start * epoch^power``, at epoch 0 ``start``; seeds differ by 10 %."""
    rows = []
    for seed in range(seeds):
        for epoch in epochs:
            size = (1 + 0.1 * seed) * start * (factor * epoch**power if epoch else 1)
            rows += [
                {
                    "variant": variant,
                    "noise": 0,
                    "width": width,
                    "parameters": 50 * width,
                    "seed": seed,
                    "epoch": epoch,
                    "gradient_norm": 0.5 if 0 < epoch < 500 else 0.005,
                    "train_loss": 2 / (1 + epoch),
                    "test_loss": 2 + 0.1 * seed - epoch / 1000,
                    "train_error": 0.1,
                    "test_error": 0.4,
                    "points": points,
                    "number_of_points": 4000 if points == "train" else 1000,
                    "c_lower": size,
                    "c_avg": size / 2,
                    "log10_c_upper": math.log10(3 * size),
                    "parameter_distance": float(epoch),
                    **more,
                }
                for points in ("train", "test")
            ]
    return pd.DataFrame(rows)


def stop_table(table, reason="gradient_norm"):
    stops = table[table["epoch"] == table["epoch"].max()].rename(columns={"epoch": "epochs"})
    return stops.assign(stop_reason=reason)


def check(module, tables, where):
    """Draws, and returns the facts, which have to be JSON."""
    module.draw(tables, where).canvas.draw()
    facts = module.facts(tables, where)
    json.dumps(facts)
    return facts
