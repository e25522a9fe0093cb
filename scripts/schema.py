"""conf/schema.json, by which editors check and complete YAML files: what conf/'s comments say, as a JSON Schema."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from dlrun.config.catalogue import (
    RANGE,
    Constraint,
    KeyPath,
    choices,
    conf_dir,
    constraints,
    groups,
    takes_several,
    targets,
)
from dlrun.config.catalogue import description as described
from dlrun.config.durations import WRITTEN

Schema = dict[str, Any]
Keys = dict[KeyPath, list[Constraint]]

INTERPOLATION: Schema = {"type": "string", "pattern": r"^(\$\{|\?\?\?$)"}  #: which only Hydra knows the value of
DURATION: Schema = {"type": "string", "pattern": rf"^(?:{WRITTEN.pattern})$"}
KINDS: dict[str, Schema] = {
    "null": {"type": "null"}, "bool": {"type": "boolean"}, "text": {"type": "string"}, "path": {"type": "string"},
    "duration": DURATION, "int": {"type": "integer"}, "number": {"type": "number"}, "any": {},
}  # fmt: skip
LIMITS = {">": "exclusiveMinimum", ">=": "minimum", "<": "exclusiveMaximum", "<=": "maximum"}


def schema() -> Schema:
    """Of a config, of a part of one such as an experiment, and of a choice's own file, which has a `_target_`."""
    main: Keys = {path: [each] for path, each in constraints(conf_dir() / "dlrun.yaml").items() if each}
    common = {group: {path[1:]: each for path, each in main.items() if path[0] == group} for group in groups()}
    by_target: dict[str, Keys] = {}
    nodes: dict[str, Schema] = {}
    for group in groups():
        several, known = takes_several(group), dict[str, Keys]()
        for name in choices(group):
            file = conf_dir() / group / f"{name}.yaml"
            own = {path[several:]: each for path, each in constraints(file).items() if each and len(path) > several}
            known[name] = {}
            for target in targets(file):
                _add(by_target.setdefault(target, {}), {path: [each] for path, each in own.items()}, common[group])
                _add(known[name], {path: [each] for path, each in own.items()})
        parts = {
            name: _node(keys, described(conf_dir() / group / f"{name}.yaml")) for name, keys in known.items() if keys
        }
        merged: Keys = {}
        _add(merged, *known.values(), common[group])
        nodes[group] = _object(parts, f"any of {', '.join(parts)}") if several else _node(merged, f"one {group}")
        if several:
            nodes[group]["additionalProperties"] = {"$ref": "#/definitions/choice"}
    top = _tree({path: each for path, each in main.items() if path[0] not in nodes})
    top |= nodes | {"defaults": {"type": "array"}, "hydra": {"type": "object"}}
    rules = [
        {
            "if": {"properties": {"_target_": {"const": target}}, "required": ["_target_"]},
            "then": {"properties": {"_target_": {}, **_tree(keys)}, "additionalProperties": False},
        }
        for target, keys in sorted(by_target.items())
    ]
    choice = {
        "type": "object",
        "properties": {"_target_": {"type": "string"}},
        "required": ["_target_"],
        "allOf": rules,
    }
    config = {"type": "object", "properties": top, "additionalProperties": {"$ref": "#/definitions/choice"}}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "YAML files of dlrun",
        "$comment": "Written by scripts/docs.py from the comments in conf/: change those, then run it again.",
        "if": {"required": ["_target_"]},
        "then": {"$ref": "#/definitions/choice"},
        "else": {"$ref": "#/definitions/config"},
        "definitions": {"config": config, "choice": choice, "interpolation": INTERPOLATION, **_shared(config, choice)},
    }


def _shared(*nodes: Schema) -> Schema:
    """What stands in these nodes more than once, which get references to it: most keys are those of several choices."""
    found: dict[str, Schema] = {}  # by names that stay as they are when other keys come and go

    def walk(node: Any) -> None:
        for place in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
            walk(place)
        if isinstance(node, dict):
            for key, value in node.get("properties", {}).items():
                if "anyOf" in value:
                    name = f"{key}_{hashlib.blake2b(json.dumps(value).encode(), digest_size=4).hexdigest()}"
                    found[name] = value
                    node["properties"][key] = {"$ref": f"#/definitions/{name}"}

    for node in nodes:
        walk(node)
    return dict(sorted(found.items()))


def text() -> str:
    """The content of conf/schema.json."""
    return _lines(schema(), 4) + "\n"


def _lines(value: Any, depth: int) -> str:
    """JSON with a line for each entry down to some depth."""
    if not depth or not isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list):
        return "[\n" + ",\n".join(_lines(each, depth - 1) for each in value) + "\n]"
    lines = [f"{json.dumps(key)}: {_lines(each, depth - 1)}" for key, each in value.items()]
    return "{\n" + ",\n".join(lines) + "\n}"


def value_schema(constraint: Constraint) -> Schema:
    """What a constraint allows, `allows` as a schema."""
    alternatives = constraint.text.split(" or ")
    schemas = [{"const": told} if told == "any" != constraint.text else _alternative(told) for told in alternatives]
    return {"anyOf": [*schemas, {"$ref": "#/definitions/interpolation"}]}


def _alternative(told: str) -> Schema:
    if told.startswith("list of "):
        return {"type": "array", "items": _alternative(re.sub("^numbers", "number", told.removeprefix("list of ")))}
    if told in KINDS:
        return KINDS[told]
    if re.fullmatch(r"[A-Za-z]\w*", told):
        return {"const": told}
    kind, _, rest = told.partition(" ")
    if kind not in ("int", "number"):
        kind, rest = "number", told
    match = RANGE.match(rest)
    assert match, told
    sign, bound, left, low, high, right = match.groups()
    limits = [(sign, bound)] if sign else [(">=" if left == "[" else ">", low), ("<=" if right == "]" else "<", high)]
    return {**KINDS[kind], **{LIMITS[sign]: float(bound) for sign, bound in limits}}


def _add(keys: Keys, *others: Mapping[KeyPath, list[Constraint]]) -> None:
    for other in others:
        for path, several in other.items():
            for each in several:
                if each.text not in [known.text for known in keys.setdefault(path, [])]:
                    keys[path].append(each)


def _node(keys: Keys, about: str) -> Schema:
    """A part of a config: its keys for as long as no `_target_` says more."""
    found = _object({"_target_": {"type": "string"}, **_tree(keys)}, about)
    return {**found, "if": {"required": ["_target_"]}, "then": {"$ref": "#/definitions/choice"}}


def _object(properties: Schema, about: str) -> Schema:
    return {"type": "object", "description": about, "properties": properties}


def _tree(keys: Mapping[KeyPath, list[Constraint]]) -> Schema:
    """Properties of nested keys."""
    found: Schema = {}
    for path, several in keys.items():
        place = found
        for part in path[:-1]:
            place = place.setdefault(part, {"type": "object", "properties": {}})["properties"]
        schemas = [value_schema(each) for each in several]
        of = schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
        place[path[-1]] = {"description": f"{several[0].text}; {several[0].meaning}", **of}
    return found
