"""How many parameters the nets of the paper have, here and in its tables."""

import pandas as pd

from pipeline.figures.room import Context, Facts, Tables, only

_NETS = {"S4": "fully connected", "S5": "convolutional"}


def measure(tables: Tables, context: Context) -> Facts:
    """By table and net the number here, and the paper's where it prints one."""
    printed = context["printed"]
    return {
        str(table): {
            str(net): {"here": int(count), "paper": printed[table].get(str(net))}
            for net, count in zip(rows["net"], rows["parameters"], strict=True)
        }
        for table, rows in only(tables).groupby("table")
    }


def rows(tables: Tables, facts: Facts, context: Context) -> pd.DataFrame:
    """A row per net."""
    return pd.DataFrame(
        [
            {
                "table": table,
                "nets": _NETS[table],
                "width": net,
                "parameters": f"{count['here']:,}",
                "paper": "" if count["paper"] is None else f"{count['paper']:,}",
            }
            for table, nets in facts.items()
            for net, count in nets.items()
        ]
    )
