"""Writes core/models/models.json: context windows and prices from the genai-prices package
(Pydantic, MIT).

Not needed to run or test the program: `pip install genai-prices`, then `python -m
tests.make_model_data`.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

OUTPUT = Path(__file__).resolve().parent.parent / "core" / "models" / "models.json"
# Their provider -> ours.
NAMES = {"openai": "openai", "anthropic": "anthropic", "google": "gemini", "cohere": "cohere",
         "mistral": "mistral", "groq": "groq",
         "deepseek": "deepseek", "openrouter": "openrouter", "x-ai": "xai", "together": "together",
         "azure": "azure"}


def main() -> None:
    from genai_prices.data import providers
    table: dict[str, dict[str, list[Any]]] = {}
    for provider in providers:
        if provider.id in NAMES:
            table[NAMES[provider.id]] = _models(provider)
    made = {"made": datetime.date.today().isoformat(),
            "source": f"genai-prices {version('genai-prices')} (MIT)",
            "columns": ["context window", "dollars per million input tokens", "output tokens",
                        "cached input tokens"],
            "models": table}
    text = json.dumps(made, separators=(",", ":"), ensure_ascii=False)
    OUTPUT.write_text(text.replace('],"', '],\n"').replace('":{"', '":{\n"') + "\n",
                      encoding="utf-8")
    print(f"{OUTPUT}: {sum(map(len, table.values()))} names, {OUTPUT.stat().st_size:,} bytes")


def _models(provider: Any) -> dict[str, list[Any]]:
    """Every exact name of a model -> [context, input, output, cached]; completely unknown models
    are omitted.
    """
    found: dict[str, list[Any]] = {}
    for model in provider.models:
        price = _today(model.prices)
        row = [model.context_window, *(_number(getattr(price, field, None)) for field in
                                       ("input_mtok", "output_mtok", "cache_read_mtok"))]
        while row and row[-1] is None:
            row.pop()
        if row:
            for name in sorted({model.id, *_exact_names(model.match)}):
                found.setdefault(name, row)
    return dict(sorted(found.items()))


def _exact_names(match: Any) -> Iterator[str]:
    if hasattr(match, "equals"):
        yield match.equals
    for inner in getattr(match, "or_", ()):
        yield from _exact_names(inner)


def _today(prices: Any) -> Any:
    """The newest price that already applies; among prices that vary with the hour, the highest."""
    if not isinstance(prices, list):
        return prices
    today = datetime.date.today()
    dated = [entry for entry in prices
             if hasattr(entry.constraint, "start_date") and entry.constraint.start_date <= today]
    if dated:
        return max(dated, key=lambda entry: entry.constraint.start_date).prices
    other = [entry for entry in prices if not hasattr(entry.constraint, "start_date")] or prices
    return max((entry.prices for entry in other), key=lambda price: _number(price.input_mtok) or 0)


def _number(value: Any) -> float | int | None:
    """A price as JSON; for a price in tiers, the first one."""
    value = getattr(value, "base", value)
    if value is None:
        return None
    number = float(value)
    return int(number) if number.is_integer() else number


if __name__ == "__main__":
    main()
