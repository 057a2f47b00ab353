"""Writes the models and the table of operations of the package from the OpenAPI document.

Use: models.py DOCUMENT FOLDER

The models are dataclasses, made by datamodel-code-generator. The article's API is not part of the package, so its
schemas are left out. Output has one class with all fields, as its description says which of them are present.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

LEFT_OUT = ("connect-kernel",)
"""Operations that the package does not have. The reasons are in its README."""

HEADER = "# Generated from api/openapi.yaml by python/tools/generate.py. Do not edit.\n"


def uses(node: Any) -> set[str]:
    """Returns the names of the schemas to which a part of the document refers."""
    if isinstance(node, dict):
        found = {node["$ref"].rsplit("/", 1)[1]} if "$ref" in node else set()
        return found.union(*(uses(value) for value in node.values()))
    if isinstance(node, list):
        return set().union(*(uses(value) for value in node))
    return set()


def reduced(document: dict[str, Any]) -> dict[str, Any]:
    """Returns a document with the schemas of /v1 only, in the forms that the package uses."""
    schemas = document["components"]["schemas"]
    wanted: set[str] = set()
    found = uses({path: item for path, item in document["paths"].items() if path.startswith("/v1/")})
    while found - wanted:
        wanted |= found
        found = uses({name: schemas[name] for name in wanted})
    kept = {name: schemas[name] for name in sorted(wanted)}
    kept["Output"].pop("oneOf", None)
    for schema in kept.values():
        for field in schema.get("properties", {}).values():
            field.pop("examples", None)
            for limit in (
                "minimum",
                "maximum",
                "minLength",
                "maxLength",
                "minItems",
                "maxItems",
                "maxProperties",
                "pattern",
            ):
                field.pop(limit, None)
    return {**document, "paths": {}, "components": {"schemas": kept}}


def write_models(document: dict[str, Any], target: Path) -> None:
    """Writes the dataclasses."""
    with tempfile.TemporaryDirectory() as folder:
        source, made = Path(folder) / "openapi.yaml", Path(folder) / "models.py"
        source.write_text(yaml.safe_dump(reduced(document), sort_keys=True))
        command = [
            sys.executable, "-m", "datamodel_code_generator", "--input", str(source), "--output", str(made),
            "--input-file-type", "openapi", "--output-model-type", "dataclasses.dataclass",
            "--target-python-version", "3.10", "--use-standard-collections", "--use-union-operator",
            "--enum-field-as-literal", "all", "--use-field-description", "--disable-timestamp",
            "--disable-future-imports", "--keyword-only", "--frozen-dataclasses", "--formatters", "ruff-format",
            "--output-datetime-class", "datetime",
        ]  # fmt: skip
        subprocess.run(command, check=True)
        text = made.read_text()
    text = re.sub(r"\A(#.*\n)+", "", text)
    doc = '"""The values of the HTTP API, as dataclasses. Sizes are in bytes, and durations in seconds.\n\nA server can send fields that are not here; they are ignored. Text can come from untrusted code.\n"""\n'
    target.write_text(HEADER + doc + text)


def write_operations(document: dict[str, Any], target: Path) -> None:
    """Writes the table of operations."""
    lines = [
        HEADER + '"""The operations of the HTTP API."""\n',
        "from typing import NamedTuple\n\n",
        "class Operation(NamedTuple):",
        '    """One operation: its id in the document, its method and its path."""\n',
        "    id: str\n    method: str\n    path: str\n\n",
    ]
    names = []
    for path, item in sorted(document["paths"].items()):
        for method, operation in sorted(item.items()):
            if path.startswith("/v1/") and operation["operationId"] not in LEFT_OUT:
                name = operation["operationId"].upper().replace("-", "_")
                names.append(name)
                lines.append(f'{name} = Operation("{operation["operationId"]}", "{method.upper()}", "{path}")')
    lines.append(f"\nALL = ({', '.join(sorted(names))})")
    target.write_text("\n".join(lines) + "\n")


def write(document: Path, folder: Path) -> None:
    """Writes both files into a folder."""
    content = yaml.safe_load(document.read_text())
    write_models(content, folder / "models.py")
    write_operations(content, folder / "_operations.py")
