"""A Keras model captured into the graph: its calls in order, each written by the row of its class in ops/."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import onnx_ir as ir

from converter import advice
from converter.capture import keras_custom, keras_dtypes, keras_nodes, keras_open, keras_open_model
from converter.capture.captured import Captured
from converter.capture.keras_graph import KerasGraph
from converter.capture.keras_masks import Masks
from converter.errors import Item, Unsupported, UsageError
from converter.graph.graph import Place, dims
from converter.ops import schema
from converter.ops.base import KERAS_LAYERS, KERAS_OPERATIONS, VETS, Given, Refusal


def capture(
    model: Any, share: bool = False, examples: Sequence[Any] | None = None, custom: Mapping[str, Any] | None = None
) -> Captured:
    """Capture a built model; with `share` the graph's weights are the model's own memory.

    A Functional or Sequential model is walked, any other one is opened as a whole, with `examples` where its build does
    not tell what it takes. Raises Unsupported with every layer, option and mask that has no mapping, UsageError for an
    unbuilt model.
    """
    graph = keras_nodes.functional(model)
    if graph is None and examples is not None and not model.built:
        keras_open_model.built(model, examples)
        graph = keras_nodes.functional(model)
    if graph is None and type(model).__module__.split(".")[0] == "keras":
        raise UsageError(
            f"{type(model).__name__} {getattr(model, 'name', '')!r} has no functional graph. Expected a built "
            "Functional or Sequential model; call it once on an input, or give its input shape."
        )
    with KerasGraph(model.name, share, capture_layer) as g:
        g.custom = custom or {}
        return _walked(g, graph) if graph is not None else keras_open_model.capture(g, model, examples)


def _walked(g: KerasGraph, graph: Any) -> Captured:
    walk = _Walk(g)
    inputs = keras_nodes.flat(graph._inputs)
    for tensor, name in zip(inputs, keras_nodes.input_names(graph), strict=True):
        lengths = [d if d is not None else f"{name}_{i}" if i else "N" for i, d in enumerate(tensor.shape)]
        walk.values[id(tensor)] = g.input(name, lengths, keras_dtypes.of(_plain(tensor.dtype)))
    walk.run(graph, "", "")
    if walk.items:
        raise Unsupported(walk.items)
    flat = keras_nodes.flat(graph._outputs)
    for tensor in flat:
        value = walk.values[id(tensor)]
        g.graph.outputs.append(value)
    g.remove_unused()  # masks that Keras derived and nothing reads
    import keras

    structure = keras.tree.pack_sequence_as(graph._outputs_struct, list(range(len(flat))))
    if isinstance(structure, (list, tuple)) and len(structure) == 1:
        structure = structure[0]  # as Keras itself gives it back
    g.output_names = keras_nodes.names(flat)
    return Captured(g, structure, inputs, walk.notes + g.notes, g.roads, alone=g.alone)


class _Walk:
    def __init__(self, g: KerasGraph) -> None:
        self.g = g
        self.values: dict[int, ir.Value] = {}
        self.masks = Masks(g)
        self.items: list[Item] = []
        self.notes: list[Any] = []
        self.calls: dict[str, int] = {}

    def run(self, graph: Any, prefix: str, scope: str) -> None:
        """Write every call of a functional graph, nested models included."""
        for step in keras_nodes.steps(graph):
            path = f"{prefix}{step.operation.name}"
            inner = keras_nodes.functional(step.operation)
            if inner is not None:
                self._nested(step, inner, path, scope)
            else:
                self._step(step, path, scope)

    def _nested(self, step: keras_nodes.Step, inner: Any, path: str, scope: str) -> None:
        kwargs = {k: v for k, v in step.kwargs.items() if k != "mask"}
        given = [t for t in keras_nodes.flat((step.args, kwargs)) if keras_nodes.is_tensor(t)]
        starts, ends = keras_nodes.flat(inner._inputs), keras_nodes.flat(inner._outputs)
        saved = {id(t): self.values.get(id(t)) for t in starts}
        kept = self.masks.kept([*starts, *ends])
        explicit = keras_nodes.flat(step.kwargs["mask"]) if step.kwargs.get("mask") is not None else []
        before = [self._mask(t, explicit[i] if i < len(explicit) else None) for i, t in enumerate(given)]
        for tensor, argument, mask in zip(starts, given, before, strict=True):
            with self.g.at(Place(path, type(step.operation).__name__, scope=scope)):
                cast = keras_dtypes.cast(self.g, self.values[id(argument)], keras_dtypes.of(_plain(tensor.dtype)))
            self.values[id(tensor)] = cast
            self.masks.put(tensor, mask)
        call = self._call(path)
        self.run(inner, f"{path}/", f"{scope}{step.operation.name}#{call}/")
        results = [(self.values[id(t)], self.masks.kept([t])[id(t)]) for t in ends]
        for key, value in saved.items():
            if value is not None:
                self.values[key] = value
        self.masks.restore(kept)
        for i, (tensor, (value, own)) in enumerate(zip(step.outputs, results, strict=True)):
            self.values[id(tensor)] = value
            handed = before[i] if i < len(before) and step.operation.supports_masking else None
            self.masks.put(tensor, _first_of(own, handed))

    def _mask(self, tensor: Any, explicit: Any) -> Callable[[], ir.Value | None]:
        """The mask beside a tensor that is handed to a nested model, or the one that is given with it."""
        if explicit is not None:
            value = self._value(explicit)
            return lambda: value
        return self.masks.kept([tensor])[id(tensor)] or (lambda: None)

    def _call(self, path: str) -> int:
        call = self.calls.get(path, 0)
        self.calls[path] = call + 1
        return call

    def _step(self, step: keras_nodes.Step, path: str, scope: str) -> None:
        import keras

        operation = step.operation
        cls = type(operation).__name__
        is_layer = isinstance(operation, keras.Layer)
        place = Place(path, cls, self._call(path), bool(getattr(operation, "trainable", True)), scope)
        args = keras.tree.map_structure(self._value, step.args)
        kwargs = keras.tree.map_structure(self._value, step.kwargs)
        try:
            with self.g.at(place):
                result = self._result(step, args, kwargs)
        except Unsupported as error:  # what an opened layer does without a row
            self.items += [item for item in error.items if item not in self.items]
            result = [self._unknown(t) for t in step.outputs]
        except Refusal as refusal:
            where, what = f"{path}/{refusal.inside}".rstrip("/"), refusal.inside.rsplit("/", 1)[-1] or cls
            if not any((item.where, item.why) == (where, refusal.why) for item in self.items):
                self.items.append(Item(where, what, refusal.why, refusal.todo))
            result, is_layer = [self._unknown(t) for t in step.outputs], False
        for tensor, value in zip(step.outputs, keras_nodes.flat(result), strict=True):
            self.values[id(tensor)] = value
        if is_layer:
            self.masks.follow(step, place, self._value)

    def _result(self, step: keras_nodes.Step, args: Any, kwargs: Any) -> Any:
        """What a call gives, by its row; Refusal where ONNX's operator does not take what it is given."""
        import keras

        try:
            if isinstance(step.operation, keras.Layer):
                kwargs = {**kwargs, **self.masks.arguments(step)}
                return capture_layer(self.g, step.operation, args, kwargs, masks=self.masks.beside(step))
            return self._operation(step.operation, type(step.operation).__name__, step, args, kwargs)
        except schema.Refused as error:
            raise Refusal(f"it is given what its operator in ONNX is not made for: {error}.") from error

    def _operation(self, operation: Any, cls: str, step: keras_nodes.Step, args: Any, kwargs: Any) -> Any:
        import keras

        for tensor in keras_nodes.flat((step.args, step.kwargs)):
            if keras_nodes.is_tensor(tensor) and not keras_dtypes.alike(self.values[id(tensor)], tensor):
                raise Refusal(f"it is given {self.values[id(tensor)].dtype}, where Keras's graph says {tensor.dtype}.")
        if cls != "Cast":
            made, asked = step.outputs[0].dtype, args[:1] if cls == "Where" else ()
            args, kwargs = keras.tree.map_structure(
                lambda x: keras_dtypes.operation(self.g, made, x) if isinstance(x, ir.Value) else x,
                (args[len(asked) :], kwargs),
            )
            args = (*asked, *args)  # a condition is no number
        result = capture_operation(self.g, operation, args, kwargs)
        for value, tensor in zip(keras_nodes.flat(result), step.outputs, strict=True):
            if not keras_dtypes.alike(value, tensor):
                raise Refusal(f"Keras gives {tensor.dtype} here, and {value.dtype} would come of it.", "Cast before.")
        return result

    def _value(self, argument: Any) -> Any:
        return self.values[id(argument)] if keras_nodes.is_tensor(argument) else argument

    def _unknown(self, tensor: Any) -> ir.Value:
        """A stand-in for what a refused layer would give, so that the walk can find everything else it must refuse."""
        dtype = keras_dtypes.of(_plain(tensor.dtype))
        return ir.Value(name=tensor.name, shape=ir.Shape(list(tensor.shape)), type=ir.TensorType(dtype))


def capture_layer(
    g: KerasGraph,
    layer: Any,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    role: str = "",
    masks: Sequence[ir.Value | None] = (),
) -> Any:
    """Write one layer by the row of its class, or opened where it is of the user's own; Refusal where neither goes.

    `masks`: what lies beside the tensors of the first argument, for a row that takes `masks`.
    """
    found = keras_custom.given_for(g.custom, layer)
    if found is not None:
        g.opened(g.place.path, type(layer).__name__, "custom=")
        if hasattr(type(layer), "kconvert_given"):
            g.alone.append(g.place.path)
        with g.reading(layer):
            return keras_custom.write(g, layer, args, kwargs, *found)
    if keras_open.opens(layer):
        if kwargs.get("training") is True:
            raise Refusal(advice.TRAINING, advice.NO_TRAINING)
        g.opened(g.place.path, type(layer).__name__)
        with g.reading(layer):
            made, _ = keras_open.write(g, layer, args, kwargs)
        return made if len(made) != 1 else made[0]
    row = _row(KERAS_LAYERS, layer)
    if kwargs.get("training") is True and not _augments(layer):
        raise Refusal(advice.TRAINING, advice.NO_TRAINING)
    if getattr(layer, "quantization_mode", None) is not None or getattr(layer, "lora_enabled", False):
        raise Refusal(advice.QUANTISED, advice.PLAIN)
    given, named = _arguments(layer, row, args, kwargs)
    _vetted("layer", layer, given)
    with g.role(role), g.reading(layer):
        cast = keras_dtypes.inputs(g, layer, given)
        named = {name: keras_dtypes.floats(g, layer, value) for name, value in named.items()}
        if masks:
            named["masks"] = list(masks)
        return keras_dtypes.output(g, layer, given[0] if given else None, row(g, layer, *cast, **named))


def _arguments(
    layer: Any, row: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """The tensors of the first argument, and by name the others that the row takes; Refusal for any other argument."""
    try:
        bound = inspect.signature(layer.call).bind(*args, **kwargs).arguments
    except TypeError as error:
        raise Refusal(f"its call has arguments that the layer does not take: {error}.") from error
    parameters = inspect.signature(layer.call).parameters
    taken = {p.name for p in inspect.signature(row).parameters.values() if p.kind == inspect.Parameter.KEYWORD_ONLY}
    first = next(iter(bound), "")
    named: dict[str, Any] = {}
    for name, value in bound.items():
        if name in (first, "training") or value is None or value is parameters[name].default:
            continue
        if name not in taken:
            shown = "a tensor" if isinstance(value, ir.Value) else repr(value)[:60]
            raise Refusal(f"it is called with {name}={shown}, which has no mapping.")
        named[name] = value
    given = bound.get(first)
    return list(given) if isinstance(given, (list, tuple)) else [given], named


def _augments(layer: Any) -> bool:
    """Whether training=True is the default of the layer's own call, as in Keras's random image layers."""
    given = inspect.signature(layer.call).parameters.get("training")
    return given is not None and given.default is True


def capture_operation(g: KerasGraph, operation: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Write one keras.ops operation by the row of its class; Refusal where there is none."""
    row = _row(KERAS_OPERATIONS, operation)
    try:
        inspect.signature(row).bind(g, operation, *args, **kwargs)
    except TypeError as error:
        raise Refusal(f"it is called with arguments that have no mapping: {error}.") from error
    _vetted("operation", operation, [*args, *kwargs.values()])
    return row(g, operation, *args, **kwargs)


def _vetted(kind: str, operation: Any, args: list[Any]) -> None:
    """Refusal for what the row's vet refuses."""
    vet = VETS.get((kind, keras_nodes.row_name(operation)))
    refusal = vet(lambda name: getattr(operation, name, None), [_given(a) for a in args]) if vet else None
    if refusal is not None:
        raise refusal


def _given(argument: Any) -> Any:
    """An argument of a call with what is known of its tensors."""
    if isinstance(argument, (list, tuple)):
        return [_given(entry) for entry in argument]
    if not isinstance(argument, ir.Value) or argument.dtype is None:
        return argument
    return Given(dims(argument), str(argument.dtype.numpy()))


def _row(table: Mapping[str, Callable[..., Any]], operation: Any) -> Callable[..., Any]:
    cls = type(operation)
    row = table.get(keras_nodes.row_name(operation))
    if row is None:
        like = cls.__name__ in table  # a name of Keras's, and a class that is not
        known = f" (it is {cls.__module__}.{cls.__name__}, not Keras's own)" if like else ""
        raise Refusal(f"there is no mapping for this class{known}.", "" if like else advice.of(cls.__name__))
    return row


def _first_of(*masks: Callable[[], ir.Value | None] | None) -> Callable[[], ir.Value | None]:
    """The first of some masks that there is."""

    def mask() -> ir.Value | None:
        return next((found for m in masks if m is not None and (found := m()) is not None), None)

    return mask


def _plain(dtype: Any) -> str:
    name = str(dtype)
    return "float32" if name == "string" else name
