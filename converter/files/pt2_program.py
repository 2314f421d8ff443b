"""models/model.json of a .pt2, built anew from what is known of it: nothing that was not read here reaches torch.

torch would evaluate or run several of its parts: `expr_str` (sympy.sympify), targets and `as_operator` (getattr from
torch, operator and math), `guards_code` and text inputs (exec), names of values, of weights and of input dicts (pasted
into the code that torch.fx executes), the contexts of tree specs (importlib for enums, defaultdicts and namedtuples),
graphs and custom objects. Sizes keep a grammar, targets an allow-list, names their alphabet; guards, comments and
stack traces are left out; the rest is refused.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from typing import Any

from converter.errors import BadInput, Item, Unsupported
from converter.files import pt2_expressions
from converter.files.json_text import parsed
from converter.files.pt2_values import ITEMSIZE, NAME, Json, Values

ATEN = re.compile(r"torch\.ops\.aten\.([A-Za-z_]\w{0,100})\.(\w{1,100})", re.ASCII)
FOREIGN = re.compile(r"torch\.ops(\.\w{1,200}){1,4}", re.ASCII)
_BINARY = ("eq", "ne", "le", "ge", "lt", "gt", "mul", "add", "sub", "floordiv", "mod", "pow", "truediv", "and_", "or_")
_OTHERS = ("neg", "pos", "lshift", "rshift")
_SYMBOLIC = ("not", "int", "float", "ite", "max", "min", "sqrt", "sum")
SIZES = frozenset(
    {
        *(f"_operator.{name}" for name in (*_BINARY, *_OTHERS)),
        *(f"torch.sym_{name}" for name in _SYMBOLIC),
        *("math.trunc", "math.floor", "math.ceil"),
    }
)
"""Functions of sizes, by the names that torch writes."""
GROWING = frozenset({"_operator.pow", "_operator.lshift"})
MAKERS = frozenset(
    {
        *("zeros", "ones", "full", "empty", "rand", "randn", "randint", "randperm", "eye", "arange", "linspace"),
        *("new_zeros", "new_ones", "new_full", "new_empty", "repeat", "tile", "empty_strided"),
    }
)
"""Operations whose numbers say how much memory they take."""
NEVER = frozenset({"from_file", "save"})
MOST_ELEMENTS = 1 << 31
MOST_INPUT = 1 << 32
MOST_INPUTS = 10_000
DEEPEST = 40
VERIFIERS = frozenset({"ATEN", "TRAINING", ""})
WEIGHTS = {"parameter": "parameter_name", "buffer": "buffer_name", "tensor_constant": "tensor_constant_name"}
MUTATIONS = {
    "buffer_mutation": "buffer_name",
    "parameter_mutation": "parameter_name",
    "user_input_mutation": "user_input_name",
}
CONTAINERS = frozenset({"builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict"})
ADVICE = "Return tensors, tuples, lists and dicts from the module, and export it again."


@dataclass
class Program:
    """The vetted program, what its inputs and weights claim to be, and how the file had to be understood."""

    json: dict[str, Json]
    tree: Json
    """The structure of (args, kwargs), for sample inputs."""
    inputs: list[Json]
    """Of every user input: what its tensor is, or its plain value."""
    weights: dict[tuple[str, str], Json]
    """(kind, path) of every weight that the graph takes: what its tensor is said to be."""
    overloads: set[tuple[str, str]]
    notes: list[str] = field(default_factory=list)


def vetted(data: bytes, label: str) -> Program:
    """The program of models/model.json; BadInput for what torch.export does not write, Unsupported for foreign ops."""
    values = Values(f"{label}: models/model.json")
    found = values.table(parsed(data, values.label), "the program")
    try:
        return _Vetting(values).program(found)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{values.label}: expected JSON of bounded depth, but it cannot be read ({error}).") from error


class _Vetting:
    def __init__(self, values: Values) -> None:
        self.values = values
        self.foreign: dict[str, list[str]] = {}
        self.overloads: set[tuple[str, str]] = set()

    def program(self, found: dict[str, Json]) -> Program:
        v = self.values
        module = v.table(found.get("graph_module"), "graph_module")
        graph = self.graph(v.table(module.get("graph"), "graph"))
        if self.foreign:
            raise Unsupported(
                Item(", ".join(where[:3]), name, "this operation is not of ATen and has no mapping.", "Replace it.")
                for name, where in self.foreign.items()
            )
        signature = v.table(module.get("signature"), "signature")
        inputs = [self.input_spec(s) for s in v.rows(signature.get("input_specs"), "input_specs")]
        outputs = [self.output_spec(s) for s in v.rows(signature.get("output_specs"), "output_specs")]
        if len(inputs) != len(graph["inputs"]) or len(outputs) != len(graph["outputs"]):
            raise v.refuse("signature", "one entry for every input and output of the graph", len(inputs))
        entries = v.rows(module.get("module_call_graph"), "module_call_graph")
        entry = v.table(entries[0] if entries else None, "module_call_graph")
        call = v.table(entry.get("signature"), "module_call_graph")
        tree, leaves = self.tree(call.get("in_spec"), "in_spec", plain_keys=True)
        back, count = self.tree(call.get("out_spec"), "out_spec", plain_keys=False)
        self.call_structure(tree)
        claimed = self.claims(graph, inputs)
        user = [c for s, c in zip(inputs, claimed, strict=True) if next(iter(s)) in ("user_input", "constant_input")]
        returned = [s for s in outputs if "user_output" in s]
        if leaves != len(user) or count != len(returned) or leaves > MOST_INPUTS:
            wanted = f"the structure of {len(user)} inputs and {len(returned)} outputs"
            raise v.refuse("module_call_graph", wanted, (leaves, count))
        names, place = call.get("forward_arg_names"), "forward_arg_names"
        arguments = None if names is None else [v.name(n, place) for n in v.rows(names, place)]
        version = v.table(found.get("schema_version"), "schema_version")
        saved_by = v.text(found.get("torch_version", "2.4"), "torch_version").removeprefix("<=")
        made = {
            "graph_module": {
                "graph": graph,
                "signature": {"input_specs": inputs, "output_specs": outputs},
                "module_call_graph": [
                    {
                        "fqn": "",
                        "signature": {
                            "inputs": [v.argument(a, "in_spec") for a in v.rows(call.get("inputs"), "in_spec")],
                            "outputs": [v.argument(a, "out_spec") for a in v.rows(call.get("outputs"), "out_spec")],
                            "in_spec": json.dumps([1, tree]),
                            "out_spec": json.dumps([1, back]),
                            "forward_arg_names": arguments,
                        },
                    }
                ],
                "metadata": {},
                "treespec_namedtuple_fields": {},
            },
            "opset_version": {
                v.name(k, "opset_version"): v.whole(n, "opset_version", 0, 1 << 20)
                for k, n in v.table(found.get("opset_version"), "opset_version").items()
            },
            "range_constraints": self.ranges(found.get("range_constraints")),
            "schema_version": {
                part: v.whole(version.get(part), "schema_version", 0, 999) for part in ("major", "minor")
            },
            "verifiers": self.verifiers(found.get("verifiers")),
            "torch_version": v.word(saved_by, "torch_version"),
            "guards_code": [],
        }
        weights = {
            (kind, spec[WEIGHTS[kind]] if kind != "buffer" else spec["buffer_name"]): claim
            for s, claim in zip(inputs, claimed, strict=True)
            for kind, spec in s.items()
            if kind in WEIGHTS
        }
        notes = [f"saved for {d}: its tensors are on the CPU here" for d in sorted(v.devices)]
        return Program(made, tree, user, weights, self.overloads, notes)

    def graph(self, found: dict[str, Json]) -> dict[str, Json]:
        v = self.values
        if found.get("custom_obj_values"):
            raise v.refuse("custom_obj_values", "no custom objects, whose loading would run code", "some")
        if found.get("is_single_tensor_return") not in (False, None):
            raise v.refuse("is_single_tensor_return", "false", found.get("is_single_tensor_return"))
        parts = ("sym_int_values", "sym_float_values", "sym_bool_values")
        plain = ("as_int", "as_float", "as_bool")
        return {
            "inputs": [v.argument(a, "inputs") for a in v.rows(found.get("inputs"), "inputs")],
            "outputs": [v.argument(a, "outputs") for a in v.rows(found.get("outputs"), "outputs")],
            "nodes": [self.node(n) for n in v.rows(found.get("nodes"), "nodes")],
            "tensor_values": {
                v.name(k, "tensor_values"): v.tensor(t, k)
                for k, t in v.table(found.get("tensor_values"), "tensor_values").items()
            },
            **{
                part: {v.name(k, part): v.symbolic(s, k, kind) for k, s in v.table(found.get(part, {}), part).items()}
                for part, kind in zip(parts, plain, strict=True)
            },
            "is_single_tensor_return": False,
            "custom_obj_values": {},
        }

    def node(self, found: Json) -> dict[str, Json]:
        v = self.values
        found = v.table(found, "a node")
        name = None if found.get("name") is None else v.name(found["name"], "a node's name")
        where = f"node {name or ''}"
        target = v.text(found.get("target"), where)
        known = self.target(target, where)
        inputs = []
        for entry in v.rows(found.get("inputs"), where) if known else []:
            entry = v.table(entry, where)
            kind = None if entry.get("kind") is None else v.whole(entry["kind"], where, 0, 2)
            label = self.keyword(entry.get("name"), target, where)
            inputs.append({"name": label, "arg": v.argument(entry.get("arg"), where), "kind": kind})
        if known:
            self.bounded(target, inputs, where)
        stack = v.table(found.get("metadata", {}), where).get("nn_module_stack")
        return {
            "target": target,
            "inputs": inputs,
            "outputs": [v.argument(a, where) for a in v.rows(found.get("outputs"), where)] if known else [],
            "metadata": {} if not stack else {"nn_module_stack": v.text(stack, where)},
            "is_hop_single_tensor_return": None,
            "name": name,
        }

    def keyword(self, label: Json, target: str, where: str) -> str:
        """An argument's name: an operation's schema is asked for it, a function of sizes has it pasted into code."""
        if label == "" or (target not in SIZES and isinstance(label, str) and NAME.fullmatch(label)):
            return str(label)
        return self.values.name(label, where)

    def target(self, target: str, where: str) -> bool:
        """Whether the target is known; operations of other libraries are collected, anything else is refused."""
        match = ATEN.fullmatch(target)
        if match and match[1] not in NEVER:
            self.overloads.add((match[1], match[2]))
            return True
        if target in SIZES:
            return True
        if FOREIGN.fullmatch(target) and not target.startswith("torch.ops.aten."):
            self.foreign.setdefault(target.removeprefix("torch.ops."), []).append(where.removeprefix("node "))
            return False
        raise self.values.refuse(where, "an operation torch.ops.aten.NAME.OVERLOAD or one of sizes", target)

    def bounded(self, target: str, inputs: list[dict[str, Json]], where: str) -> None:
        """What a call makes has a size that a model can have."""
        ints = [n for entry in inputs for n in _ints(entry["arg"])]
        match = ATEN.fullmatch(target)
        if match and match[1] in MAKERS:
            lists = [math.prod(max(abs(n), 1) for n in _ints(entry["arg"])) for entry in inputs]
            if max(lists, default=0) > MOST_ELEMENTS:
                raise self.values.refuse(where, f"at most {MOST_ELEMENTS} elements", max(lists))
        if target in GROWING and any(abs(n) > 1024 for n in ints):
            raise self.values.refuse(where, "numbers up to 1024 in a power of sizes", ints)

    def input_spec(self, found: Json) -> dict[str, Json]:
        v = self.values
        kind, spec = v.one(found, "input_specs")
        spec = v.table(spec, "input_specs")
        if kind == "user_input":
            return {kind: {"arg": v.argument(spec.get("arg"), "input_specs")}}
        if kind == "constant_input":
            what, value = v.one(spec.get("value"), "input_specs")
            if what == "as_string":
                v.word(value, "input_specs")
            elif what not in ("as_none", "as_int", "as_float", "as_bool"):
                raise v.refuse("input_specs", "a plain constant", what)
            argument = v.argument({what: value}, "input_specs")
            return {kind: {"name": v.name(spec.get("name"), "input_specs"), "value": argument}}
        if kind not in WEIGHTS:
            raise v.refuse("input_specs", "inputs, parameters, buffers and constants", kind)
        made = {"arg": v.named(spec.get("arg"), "input_specs"), WEIGHTS[kind]: v.path(spec.get(WEIGHTS[kind]), kind)}
        return {kind: made | ({"persistent": v.flag(spec.get("persistent"), kind)} if kind == "buffer" else {})}

    def output_spec(self, found: Json) -> dict[str, Json]:
        v = self.values
        kind, spec = v.one(found, "output_specs")
        spec = v.table(spec, "output_specs")
        if kind == "user_output":
            return {kind: {"arg": v.argument(spec.get("arg"), "output_specs")}}
        if kind not in MUTATIONS:
            raise v.refuse("output_specs", "outputs and mutations (an inference program)", kind)
        return {kind: {"arg": v.named(spec.get("arg"), kind), MUTATIONS[kind]: v.path(spec.get(MUTATIONS[kind]), kind)}}

    def claims(self, graph: dict[str, Json], specs: list[dict[str, Json]]) -> list[Json]:
        """For every input of the graph what its tensor is said to be, or its plain value; sizes are bounded."""
        v = self.values
        found = []
        for argument, spec in zip(graph["inputs"], specs, strict=True):
            kind, value = next(iter(argument.items()))
            if kind == "as_string":
                v.word(value, "inputs")
            claim = graph["tensor_values"].get(value["name"]) if kind == "as_tensor" else argument
            if claim is None:
                raise v.refuse("inputs", "what the tensor is among tensor_values", value)
            role, inner = next(iter(spec.items()))
            own = inner.get("arg", {})
            own = own if role in WEIGHTS else own.get("as_tensor", {})
            if kind == "as_tensor" and own.get("name") != value["name"]:
                raise v.refuse("signature", f"the input {value['name']!r}", own.get("name"))
            if role == "user_input" and kind == "as_tensor":
                held = math.prod(n.get("as_int", 1) for n in claim["sizes"]) * ITEMSIZE[claim["dtype"]]
                if held > MOST_INPUT:
                    raise v.refuse(f"input {value['name']}", f"at most {MOST_INPUT} bytes", held)
            found.append(claim)
        return found

    def ranges(self, found: Json) -> dict[str, Json]:
        v = self.values
        made = {}
        for symbol, bounds in v.table(found, "range_constraints").items():
            if not pt2_expressions.SYMBOL.fullmatch(symbol):
                raise v.refuse("range_constraints", "symbols such as s0", symbol)
            bounds = v.table(bounds, symbol)
            ends = {end: bounds.get(end) for end in ("min_val", "max_val")}
            made[symbol] = {end: None if n is None else v.whole(n, symbol) for end, n in ends.items()}
        return made

    def verifiers(self, found: Json) -> list[str]:
        names = [self.values.text(n, "verifiers") for n in self.values.rows(found, "verifiers")]
        if not names or not set(names) <= VERIFIERS:
            raise self.values.refuse("verifiers", "a program in ATen's operations (ATEN or TRAINING)", names)
        return names

    def tree(self, found: Json, where: str, plain_keys: bool) -> tuple[Json, int]:
        """The structure of arguments or outputs, and its leaves; containers of Python alone."""
        spec = parsed(self.values.text(found, where), f"{self.values.label}: {where}")
        if not isinstance(spec, list) or len(spec) != 2 or spec[0] != 1:
            raise self.values.refuse(where, "a tree spec of protocol 1", spec)
        return self._tree(spec[1], where, plain_keys, 0)

    def _tree(self, found: Json, where: str, plain_keys: bool, depth: int) -> tuple[Json, int]:
        v = self.values
        found = v.table(found, where)
        kind, context = found.get("type"), found.get("context")
        children = v.rows(found.get("children_spec"), where)
        if depth > DEEPEST:
            raise v.refuse(where, f"at most {DEEPEST} levels", depth)
        if kind is None:
            if children or context is not None:
                raise v.refuse(where, "a leaf", found)
            return {"type": None, "context": None, "children_spec": []}, 1
        if kind == "collections.defaultdict" and isinstance(context, dict):
            kind, context = "builtins.dict", json.dumps(context.get("dict_context"))  # its factory would be imported
        if kind not in CONTAINERS:
            what, why = v.text(kind, where)[:200], "a class of the user's in the inputs or outputs is not read."
            raise Unsupported([Item(where, what, why, ADVICE)])
        keys = parsed(v.text(context, where), f"{v.label}: {where}")
        if kind in ("builtins.dict", "collections.OrderedDict"):
            keys = v.rows(keys, where)
            if len(keys) != len(children) or len({str(k) for k in keys}) != len(keys):
                raise v.refuse(where, "one key for every entry", keys)
            read = v.word if plain_keys else v.text
            keys = [k if type(k) is int else read(k, where) for k in keys]
        elif keys is not None:
            raise v.refuse(where, "no context", keys)
        made = [self._tree(child, where, plain_keys, depth + 1) for child in children]
        spec = {"type": kind, "context": json.dumps(keys), "children_spec": [m for m, _ in made]}
        return spec, sum(n for _, n in made)

    def call_structure(self, tree: Json) -> None:
        """(args, kwargs): a tuple of a tuple and a dict whose keys are names."""
        kinds = [tree["type"], *(child["type"] for child in tree["children_spec"])]
        if kinds != ["builtins.tuple", "builtins.tuple", "builtins.dict"]:
            raise self.values.refuse("in_spec", "positional and keyword arguments", kinds)
        for key in json.loads(tree["children_spec"][1]["context"]):
            self.values.name(key, "in_spec")


def _ints(argument: dict[str, Json]) -> list[int]:
    """The whole numbers of an argument."""
    kind, value = next(iter(argument.items()))
    if kind == "as_int":
        return [value]
    if kind == "as_ints":
        return list(value)
    if kind == "as_sym_int":
        return [value["as_int"]] if "as_int" in value else []
    if kind == "as_sym_ints":
        return [n["as_int"] for n in value if "as_int" in n]
    return []


def walk_leaves(tree: Json, leaves: list[Any]) -> Any:
    """The structure with its leaves taken from a list, in order."""
    if tree["type"] is None:
        return leaves.pop(0)
    found = [walk_leaves(child, leaves) for child in tree["children_spec"]]
    if tree["type"] == "builtins.tuple":
        return tuple(found)
    if tree["type"] == "builtins.list":
        return found
    return dict(zip(json.loads(tree["context"]), found, strict=True))
