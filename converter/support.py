"""The support table, from the registries: `python -m converter.support` prints it as Markdown."""

from __future__ import annotations

from converter.ops import base


def table() -> str:
    """Every Keras layer, activation and operation that has a mapping, and whether its family has a way back."""
    rows = ["| Keras | kind | PyTorch | way back |", "|---|---|---|---|"]
    kinds = (
        ("layer", base.KERAS_LAYERS),
        ("activation", base.KERAS_ACTIVATIONS),
        ("keras.ops", base.KERAS_OPERATIONS),
    )
    for kind, found in kinds:
        for name in sorted(found):
            forth, back = _ways(found[name])
            rows.append(f"| {name} | {kind} | {forth} | {back} |")
    return "\n".join(rows)


def _ways(capture: object) -> tuple[str, str]:
    """Whether the op that a capture belongs to has a PyTorch form and a Keras form."""
    owner = str(getattr(capture, "__qualname__", "")).split(".")[0]
    classes = [cls for (_, name), cls in base.REGISTRY.items() if name == owner]
    back = any(cls.targets()[1] for cls in classes)
    return "yes", "yes" if back else ""


def main() -> None:
    """Print the table."""
    print(table())  # noqa: T201


if __name__ == "__main__":
    main()
