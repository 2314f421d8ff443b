"""Every op class against ONNX's own schema: attribute names, defaults, and where constant operands stand."""

from __future__ import annotations

import dataclasses

import onnx
import pytest

from converter.ops import base

PLAIN = sorted((cls for (domain, _), cls in base.REGISTRY.items() if domain == ""), key=lambda cls: cls.__name__)
FUNCTIONS = sorted((cls for (domain, _), cls in base.REGISTRY.items() if domain), key=lambda cls: cls.__name__)


@pytest.mark.parametrize("cls", PLAIN, ids=lambda cls: cls.__name__)
def test_fields_are_the_schema(cls: type[base.Op]) -> None:
    schema = onnx.defs.get_schema(cls.__name__, base.OPSET)
    for name, field in base.fields(cls).items():
        index = field.metadata.get("operand")
        if index is not None:
            assert index < schema.max_input, f"{cls.__name__} has no input {index}"
            continue
        name = base.attribute_of(name)
        assert name in schema.attributes, f"{cls.__name__} has no attribute {name!r}"
        attribute = schema.attributes[name]
        if field.default is dataclasses.MISSING or field.default is None:
            continue
        spec = onnx.helper.get_attribute_value(attribute.default_value)
        spec = spec.decode() if isinstance(spec, bytes) else spec
        assert field.default == pytest.approx(spec), f"{cls.__name__}.{name}: the schema says {spec}"
    required = {name for name, attribute in schema.attributes.items() if attribute.required}
    assert required <= set(map(base.attribute_of, base.fields(cls)))


@pytest.mark.parametrize("cls", FUNCTIONS, ids=lambda cls: cls.__name__)
def test_functions_have_a_body(cls: type[base.Op]) -> None:
    assert cls.body is not base.Op.body


@pytest.mark.parametrize("cls", [*PLAIN, *FUNCTIONS], ids=lambda cls: cls.__name__)
def test_every_op_says_what_it_computes(cls: type[base.Op]) -> None:
    assert cls.__doc__
    assert not cls.__doc__.startswith(f"{cls.__name__}(")


@pytest.mark.parametrize("cls", PLAIN, ids=lambda cls: cls.__name__)
def test_what_a_plain_op_gives_is_inferred(cls: type[base.Op]) -> None:
    """A class that says it by hand says why, in the first words of the method."""
    if base.says_outputs(cls):
        assert (cls.outputs.__doc__ or "").startswith("By hand: ")


@pytest.mark.parametrize("cls", PLAIN, ids=lambda cls: cls.__name__)
def test_every_attribute_and_input_is_honoured_or_refused(cls: type[base.Op]) -> None:
    """A field, an optional input that the op `reads` as a value, or an entry of `refuses` with the reason."""
    schema = onnx.defs.get_schema(cls.__name__, base.OPSET)
    fields, optional = base.fields(cls), onnx.defs.OpSchema.FormalParameterOption.Optional
    places = {spec.metadata["operand"] for spec in fields.values() if "operand" in spec.metadata}
    missing = set(schema.attributes) - set(map(base.attribute_of, fields))
    values = {each.name for i, each in enumerate(schema.inputs) if i not in places and each.option == optional}
    assert cls.reads <= values
    assert missing | (values - cls.reads) == set(cls.refuses)
    assert all(cls.refuses.values())
