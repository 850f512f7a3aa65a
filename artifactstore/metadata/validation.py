"""Holding a document against a JSON Schema, with a bound on the work.

jsonschema would fetch what a `$ref` names, and a hostile schema or document can make it run for hours. Here
nothing is fetched, patterns are matched by an automaton, and every rule that is looked at costs steps.

Source: JSON Schema 2020-12 (core and validation).
"""

from __future__ import annotations

import json
from itertools import islice
from typing import TYPE_CHECKING, Any

from artifactstore.codec import encode
from artifactstore.metadata.budget import COMPARED_STEPS, DESCENT_STEPS, KEYWORD_STEPS, Budget, too_complex
from artifactstore.metadata.patterns import Pattern
from artifactstore.results import Violation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from jsonschema import ValidationError

    from artifactstore.codec import Value

VIOLATIONS_MAX = 20  # more are not told
_TEXT_MAX = 120  # characters of a value or a rule in a refusal
_STEPS_PER_TEXT = 16  # characters of a message that cost a step
_WALKING = frozenset({"items", "contains", "propertyNames", "patternProperties"})  # look at each entry


def violations(schema: Mapping[str, Value], document: Value, subject: str) -> tuple[Violation, ...]:
    """What is wrong with a document, by place; at most `VIOLATIONS_MAX`.

    Args:
        schema: one that was accepted when it was registered.
        subject: what the document is called when it takes too much work.
    Raises:
        InvalidInputError: it takes too much work.
    """
    return _violations(schema, document, subject)


def violations_of_schema(schema: Mapping[str, Value], subject: str) -> tuple[Violation, ...]:
    """What is wrong with a schema by the rules for schemas.

    Raises:
        InvalidInputError: it takes too much work.
    """
    from jsonschema import Draft202012Validator

    return _violations(Draft202012Validator.META_SCHEMA, schema, subject)


def _violations(schema: Any, document: Any, subject: str) -> tuple[Violation, ...]:
    from jsonschema_specifications import REGISTRY

    # With its own registry jsonschema would fetch what it does not know.
    validator = _bounded_validator(Budget(subject))(schema, registry=REGISTRY)
    try:
        errors = list(islice(validator.iter_errors(document), VIOLATIONS_MAX))
    except RecursionError:
        raise too_complex(subject) from None
    return tuple(sorted(map(_violation, errors), key=lambda each: (each.pointer, each.rule)))


def _bounded_validator(budget: Budget) -> Any:
    """A class of validators that share a budget."""
    from jsonschema import Draft202012Validator, ValidationError
    from jsonschema.validators import extend

    patterns: dict[str, Pattern] = {}
    enumerations: dict[int, set[bytes]] = {}  # by the identity of the list in the schema

    def matches(pattern: str, text: str) -> bool:
        if pattern not in patterns:
            patterns[pattern] = Pattern(pattern)
            budget.spend(patterns[pattern].work)
        return patterns[pattern].search(text, budget.spend)

    def pattern(validator: Any, value: str, instance: Any, _schema: Any) -> Iterator[ValidationError]:
        if validator.is_type(instance, "string") and not matches(value, instance):
            yield ValidationError(f"{_shown(instance)} does not match the pattern")

    def pattern_properties(validator: Any, value: Any, instance: Any, _schema: Any) -> Iterator[Any]:
        if validator.is_type(instance, "object"):
            for key, entry in instance.items():
                for each, subschema in value.items():
                    if matches(each, key):
                        yield from validator.descend(entry, subschema, path=key, schema_path=each)

    def additional_properties(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
        if not validator.is_type(instance, "object"):
            return
        for key, entry in instance.items():
            budget.spend(1)
            if key in schema.get("properties", ()):
                continue
            if any(matches(each, key) for each in schema.get("patternProperties", ())):
                continue
            if value is False:
                yield ValidationError(f"the key {_shown(key)} is not allowed", path=(key,))
            else:
                yield from validator.descend(entry, value, path=key)

    def unique_items(validator: Any, value: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
        if value and validator.is_type(instance, "array"):
            budget.spend(COMPARED_STEPS * _size(instance))
            if len({encode(_same(each)) for each in instance}) < len(instance):
                yield ValidationError("two items are the same")

    def enumeration(_validator: Any, value: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
        if id(value) not in enumerations:
            budget.spend(COMPARED_STEPS * _size(value))
            enumerations[id(value)] = {encode(_same(each)) for each in value}
        budget.spend(COMPARED_STEPS * _size(instance))
        if encode(_same(instance)) not in enumerations[id(value)]:
            yield ValidationError(f"{_shown(instance)} is not one of the values allowed")

    def constant(_validator: Any, value: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
        budget.spend(COMPARED_STEPS * (_size(value) + _size(instance)))
        if encode(_same(instance)) != encode(_same(value)):
            yield ValidationError(f"{_shown(instance)} is not the value required")

    own = {
        "pattern": pattern,
        "patternProperties": pattern_properties,
        "additionalProperties": additional_properties,
        "uniqueItems": unique_items,
        "enum": enumeration,
        "const": constant,
    }
    keywords = {**Draft202012Validator.VALIDATORS, **own}
    bounded = extend(
        Draft202012Validator,
        {name: _counted(name, keyword, budget) for name, keyword in keywords.items()},
    )
    _count_descents(bounded, budget)
    return bounded


def _counted(name: str, keyword: Callable[..., Any], budget: Budget) -> Callable[..., Iterator[Any]]:
    """A rule that is paid for."""

    def checked(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
        entries = len(value) if isinstance(value, list | dict) and name != "enum" else 0
        if name in _WALKING and isinstance(instance, list | dict):
            entries += len(instance)
        budget.spend(KEYWORD_STEPS + entries)
        for error in keyword(validator, value, instance, schema) or ():
            # A message may hold a whole document.
            budget.spend(len(error.message) // _STEPS_PER_TEXT)
            yield error

    return checked


def _count_descents(validators: Any, budget: Budget) -> None:
    """Let a class of validators pay for each value that it holds against a further schema."""
    from jsonschema import ValidationError

    descend, evolve = validators.descend, validators.evolve

    def counted_evolve(validator: Any, **changes: Any) -> Any:
        budget.spend(DESCENT_STEPS)
        schema = changes.get("schema")
        if schema is False:
            changes["schema"] = {"not": {}}  # its own refusal repeats the whole document, and costs nothing
        elif isinstance(schema, dict) and "$schema" in schema:
            # It would leave this class, and with it the budget, for the one that is known by that name.
            changes["schema"] = {key: value for key, value in schema.items() if key != "$schema"}
        return evolve(validator, **changes)

    def counted_descend(
        validator: Any, instance: Any, schema: Any, path: Any = None, schema_path: Any = None, **more: Any
    ) -> Iterator[ValidationError]:
        budget.spend(1)
        if schema is not False:
            yield from descend(validator, instance, schema, path, schema_path, **more)
            return
        yield ValidationError(
            "nothing is allowed here",
            validator_value=False,
            path=() if path is None else (path,),
            schema_path=() if schema_path is None else (schema_path,),
            instance=instance,
        )

    validators.evolve, validators.descend = counted_evolve, counted_descend


def _size(value: Any) -> int:
    """How many values a document holds, and a part of its texts."""
    total, waiting = 0, [value]
    while waiting:
        each = waiting.pop()
        total += 1
        if isinstance(each, dict):
            waiting.extend(each.values())
            total += sum(1 + len(key) // _STEPS_PER_TEXT for key in each)
        elif isinstance(each, list | tuple):
            waiting.extend(each)
        elif isinstance(each, str):
            total += len(each) // _STEPS_PER_TEXT
    return total


def _same(value: Any) -> Any:
    """A document in which equal numbers are written in one way: to JSON, 1.0 is 1."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**63:
        return int(value)
    if isinstance(value, dict):
        return {key: _same(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_same(each) for each in value]
    return value


def _violation(error: ValidationError) -> Violation:
    message = error.message
    closest = error
    while closest.context:
        # Of the alternatives, the one that fits best is the one that fails furthest inside.
        closest = max(closest.context, key=lambda each: len(each.absolute_path))
    if closest is not error:
        message = f"{_cut(message)}; closest: {_pointer(closest.absolute_path)}: {closest.message}"
    return Violation(
        pointer=_pointer(error.absolute_path),
        value=_shown(error.instance),
        rule=_pointer(error.absolute_schema_path),
        expected=_shown(error.validator_value),
        message=_cut(message, 3 * _TEXT_MAX),
    )


def _pointer(path: Any) -> str:
    """A JSON Pointer (RFC 6901)."""
    return "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in path)


def _shown(value: Any) -> str:
    return _cut(json.dumps(value, ensure_ascii=False, default=str))


def _cut(text: str, most: int = _TEXT_MAX) -> str:
    shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[: most + 1])
    return shown if len(shown) <= most else f"{shown[: most - 20]}...{text[-17:]}"
