"""What the Hub checks of the metadata of a card, as far as it concerns us."""

import re
from collections.abc import Iterator
from typing import Any

import yaml

COLORS = ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")


def front_matter(card: str) -> Any:
    """What stands between the lines `---` at the beginning of a card; `None` if nothing does."""
    match = re.match(r"\s*---\r?\n(.*?)\r?\n---\s*(?:\n|$)", card, flags=re.DOTALL)
    return yaml.safe_load(match.group(1)) if match else None


def check_card(card: str, kind: str) -> tuple[list[str], list[str]]:
    """Errors and warnings about a card's metadata, by the rules of the Hub that concern us."""
    try:
        data = front_matter(card)
    except yaml.YAMLError as error:
        return [f"invalid YAML: {' '.join(str(error).split())}"], []
    if data is None:
        return (
            ([], ["empty or missing yaml metadata in repo card"]) if kind != "space" else (['"sdk" is required'], [])
        )
    if not isinstance(data, dict):
        return ["metadata is no mapping"], []
    return list(card_faults(data, kind)), []


def card_faults(data: dict[str, Any], kind: str) -> Iterator[str]:
    for key in ("license", "library_name", "pipeline_tag", "title", "emoji", "app_file", "short_description"):
        if key in data and not isinstance(data[key], str):
            yield f'"{key}" must be a string'
    for key in ("tags", "datasets", "metrics", "models"):
        values = data.get(key, [])
        if not isinstance(values, list | str) or not all(isinstance(value, str) for value in values):
            yield f'"{key}" must be a list of strings'
    base = data.get("base_model", [])
    for name in [base] if isinstance(base, str) else base:
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
            yield f'"base_model" {name!r} is no id of a model'
    for index in data.get("model-index", []):
        for result in index.get("results", [{}]):
            needed = {"task": ("type",), "dataset": ("type", "name")}
            yield from (
                f'"model-index.results.{part}.{field}" is required'
                for part, fields in needed.items()
                for field in fields
                if not isinstance(result.get(part, {}).get(field), str)
            )
            for metric in result.get("metrics") or [{}]:
                if "type" not in metric or "value" not in metric:
                    yield '"model-index.results.metrics" need "type" and "value"'
    if kind == "space":
        if data.get("sdk") not in ("gradio", "docker", "static"):
            yield '"sdk" must be one of gradio, docker, static'
        for key in ("colorFrom", "colorTo"):
            if data.get(key, COLORS[0]) not in COLORS:
                yield f'"{key}" must be one of {", ".join(COLORS)}'
        if len(str(data.get("short_description", ""))) > 60:
            yield '"short_description" must be no longer than 60 characters'
        if not isinstance(data.get("python_version", ""), str):
            yield '"python_version" must be a string'
