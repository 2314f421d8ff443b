"""The support table, from the registries: `python -m converter.support` prints it as Markdown."""

from __future__ import annotations

from converter.ops import base


def table(kind: str = "keras") -> str:
    """What is supported, of a framework: Keras's layers, activations and operations, and whether there is a way back;
    PyTorch's operations, which are read towards Keras; or ONNX's operators, which the graph is made of."""
    if kind == "torch":
        return "\n".join(["| PyTorch |", "|---|", *(f"| {name} |" for name in sorted(base.TORCH_OPERATIONS))])
    if kind == "onnx":
        return "\n".join(["| ONNX |", "|---|", *(f"| {name} |" for _, name in sorted(base.REGISTRY))])
    rows = ["| Keras | kind | PyTorch | way back |", "|---|---|---|---|"]
    kinds = (
        ("layer", base.KERAS_LAYERS),
        ("activation", base.KERAS_ACTIVATIONS),
        ("keras.ops", base.KERAS_OPERATIONS),
    )
    for what, found in kinds:
        for name in sorted(found):
            forth, back = _ways(found[name])
            rows.append(f"| {name} | {what} | {forth} | {back} |")
    return "\n".join(rows)


def _ways(capture: object) -> tuple[str, str]:
    """Whether the op that a capture belongs to has a PyTorch form, and both a PyTorch reading and a Keras form."""
    owner = _owner(capture)
    classes = [cls for (_, name), cls in base.REGISTRY.items() if name == owner]
    read = owner in {_owner(row) for row in base.TORCH_OPERATIONS.values()} or any(
        hasattr(c, "function") for c in classes
    )
    return "yes", "yes" if read and any(cls.targets()[1] for cls in classes) else ""


def _owner(capture: object) -> str:
    return str(getattr(capture, "__qualname__", "")).split(".")[0]


def main() -> None:
    """Print the table."""
    print(table())


if __name__ == "__main__":
    main()
