"""Tables in Markdown."""

import pandas as pd


def markdown(rows: pd.DataFrame) -> str:
    """``rows`` as a Markdown table; columns of numbers are aligned on the right."""
    right = [pd.api.types.is_numeric_dtype(kind) for kind in rows.dtypes]
    lines = [list(map(str, rows.columns)), ["--:" if r else "---" for r in right]]
    lines += [[_cell(value) for value in row] for row in rows.itertuples(index=False)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "" if pd.isna(value) else f"{value:.4g}"
    return str(value).replace("|", "\\|")
