"""What happened, as data and as JSON. The same inputs and seed give the same report; how it looks is rendering.py's."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Protocol

SCHEMA = "kconvert-report/2"
INTERNAL = 70
JUDGED = ("passed", "proof", "rests_on", "broken", "rungs", "sensitivity", "weak", "weights", "gates", "seed")
JUDGED_OR_NOT = {"chaotic": dict, "policy": str, "layers": list, "fault": dict}
"""What a verdict may hold besides, and what stands for it where it does not."""
OUTCOMES = {True: ("equal", 0), False: ("not equal", 1), None: ("not verified", 0)}
PACKAGES = ("kconvert", "keras", "torch", "tensorflow", "onnx", "onnx-ir", "onnxruntime", "numpy")


class Judged(Protocol):
    """What the report needs of the judge's verdict."""

    def to_dict(self) -> dict[str, Any]: ...


class Remark(str):
    """A line about one place of the model, 'where: text'; equal texts about many places are told as one, counted."""

    where: str
    text: str
    __slots__ = ("text", "where")

    def __new__(cls, where: str, text: str) -> Remark:
        made = super().__new__(cls, f"{where}: {text}" if where else text)
        made.where, made.text = where, text
        return made

    def __reduce__(self) -> tuple[type[Remark], tuple[str, str]]:
        return Remark, (self.where, self.text)

    @classmethod
    def of(cls, line: str | Sequence[str]) -> str:
        """A line as it is, or (where, text) as the remark that it stands for."""
        return cls(str(line[0]), str(line[1])) if not isinstance(line, str) else line


@dataclass(frozen=True)
class Figure:
    """How far one output of one rung is off, relative to the output's size; `tol` is what is allowed, None: all is."""

    rung: str
    device: str
    precision: str
    output: str
    passed: bool | None
    max_rel: Any
    tol: float | None
    reason: str = ""
    place: tuple[int, ...] | None = None

    @property
    def where(self) -> str:
        """The rung and the output."""
        place = f"{self.rung} ({self.device}, {self.precision})"
        return f"{place}, {self.output}" if self.output else place

    @property
    def closeness(self) -> float:
        """The share of what is allowed that was used up; infinite where there is no number."""
        off = number(self.max_rel)
        if off is None or self.tol is None:
            return 0.0 if self.passed else math.inf
        return off / self.tol if self.tol > 0 else (math.inf if off > 0 else 0.0)


@dataclass
class Report:
    """Everything that a user may want to know of one conversion or comparison.

    `passed` is None where nothing was verified. `rungs` are the judge's: name, device, backend, precision, against,
    passed, note, sets, and for each output its figures (max_abs, max_rel, tol, passed, worst, ...). `weak` are the
    outputs that hardly move with the input, `chaotic` those whose own float32 answer is far from their float64 one, and
    how far; `policy` says what mixed precision became. `trainable` counts numbers, not tensors: {source, target, why};
    the target of ONNX has none. `layers` are the source's with their own and accumulated error where both have them,
    `fault` is the first that is off: layer, kind, target, off, cause, before, and all of it as text.
    `roads` names each layer that no row of its own has written: layer, class, and the road that it took, 'opened' (its
    call was traced) or 'custom=' (opened, and its class is the one that the user gave).
    `dynamic` holds the shape of each input of the result that takes several lengths: a name for an axis of any length.
    `sha256` is that of the source file. `outcome` is 'equal', 'not equal', 'not verified', 'unsupported', 'bad input',
    'usage', 'cannot write' or 'internal error'; `exit_code` the command line's; `error` the message, if there was one.
    """

    source: str
    target: str
    passed: bool | None = None
    proof: bool = False
    rests_on: str = "nothing: not verified"
    broken: str = ""
    rungs: list[dict[str, Any]] = field(default_factory=list)
    sensitivity: dict[str, float] = field(default_factory=dict)
    weak: list[str] = field(default_factory=list)
    chaotic: dict[str, float] = field(default_factory=dict)
    policy: str = ""
    layers: list[dict[str, Any]] = field(default_factory=list)
    fault: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, Any] | None = None
    trainable: dict[str, Any] | None = None
    repairs: list[str] = field(default_factory=list)
    turns: list[str] = field(default_factory=list)
    dynamic: dict[str, list[int | str]] = field(default_factory=dict)
    roads: list[dict[str, str]] = field(default_factory=list)
    transposes: int | None = None
    dropped: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    unsupported: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    inputs: list[dict[str, Any]] = field(default_factory=list)
    gates: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    devices: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    sha256: str = ""
    outcome: str = ""
    exit_code: int | None = None
    error: str = ""

    def __post_init__(self) -> None:
        for name in ("repairs", "dropped", "warnings", "notes"):
            setattr(self, name, [Remark.of(line) for line in getattr(self, name)])

    @classmethod
    def from_verdict(
        cls,
        verdict: Judged | None,
        *,
        source: str,
        target: str,
        repairs: Sequence[Any] = (),
        turns: Sequence[str] = (),
        dynamic: Mapping[str, list[int | str]] | None = None,
        roads: Sequence[dict[str, str]] = (),
        transposes: int | None = None,
        dropped: Sequence[Any] = (),
        trainable: dict[str, Any] | None = None,
        warnings: Sequence[Any] = (),
        unsupported: Sequence[str] = (),
        notes: Sequence[Any] = (),
        versions: Mapping[str, str] | None = None,
        sha256: str = "",
        seed: int = 0,
        policy: str = "",
    ) -> Report:
        """The judge's answer and what the other stages know; no verdict: nothing was verified."""
        report = cls(
            source,
            target,
            repairs=list(repairs),
            turns=list(turns),
            dynamic=dict(dynamic or {}),
            roads=list(roads),
            transposes=transposes,
            dropped=list(dropped),
            trainable=trainable,
            warnings=list(warnings),
            unsupported=list(unsupported),
            notes=list(notes),
            versions=dict(versions or {}),
            sha256=sha256,
            seed=seed,
        )
        if verdict is not None:
            data = verdict.to_dict()
            for key in JUDGED:
                setattr(report, key, data[key])
            for key, empty in JUDGED_OR_NOT.items():
                setattr(report, key, data.get(key) or empty())
            report.inputs = [{**each, "seed": each["seed"] and list(each["seed"])} for each in data["sets"]]
            report.notes += [Remark.of(line) for line in data["notes"]]
            report.devices = list(dict.fromkeys(rung["device"] for rung in report.rungs))
        report.policy = report.policy or policy
        if repairs:
            report.notes.append("the repairs stand before source and target alike: the proof does not judge them")
        return report

    @classmethod
    def of_failure(cls, source: str, target: str, error: BaseException, *, seed: int = 0, sha256: str = "") -> Report:
        """What is known where no model came out: the outcome, the exit code, the message, all that has no mapping."""
        return cls(
            source,
            target,
            unsupported=[str(item) for item in getattr(error, "items", ())],
            versions=versions(),
            seed=seed,
            sha256=sha256,
            outcome=getattr(error, "outcome", "internal error"),
            exit_code=getattr(error, "exit_code", INTERNAL),
            error=str(error) if hasattr(error, "outcome") else f"{type(error).__name__}: {error}",
        )

    def nothing_to_compare(self, layers: Sequence[str]) -> None:
        """Say, before all else, that layers were written as the user gave them, and that nothing else tells of them."""
        named = ", ".join(map(repr, layers[:5])) + (", ..." if len(layers) > 5 else "")
        has = f"the source layer{'s' * (len(layers) > 1)} {named} {'have' if len(layers) > 1 else 'has'}"
        text = f"{has} no Keras class here; nothing to compare with: what was given for it answers on both sides"
        self.warnings.insert(0, Remark.of(text))
        self.proof = False
        if self.passed:
            self.rests_on = f"weak evidence: {text}; all else on {self.rests_on}"

    @property
    def proven(self) -> bool:
        """Whether source and target are equal in float64, on inputs that move every output."""
        return bool(self.passed and self.proof and not self.weak)

    @property
    def retrained(self) -> bool:
        """Whether source and target differ in the number of their trainable parameters."""
        counts = self.trainable
        return counts is not None and counts["target"] is not None and counts["source"] != counts["target"]

    def sign(self, path: Path | None) -> None:
        """Name what was converted, and with what: the sha256 of the source file, and the versions."""
        self.sha256 = sha256_of(path) if path is not None else ""
        self.versions = versions()

    def fail(self, error: BaseException) -> None:
        """The conversion was judged, and what came after it failed."""
        self.outcome = getattr(error, "outcome", "internal error")
        self.exit_code = getattr(error, "exit_code", INTERNAL)
        self.error = str(error) if hasattr(error, "outcome") else f"{type(error).__name__}: {error}"

    def to_dict(self) -> dict[str, Any]:
        """Plain data, with the version of its schema."""
        data: dict[str, Any] = {"schema": SCHEMA, **{each.name: getattr(self, each.name) for each in fields(self)}}
        outcome, code = OUTCOMES[self.passed]
        data["outcome"] = self.outcome or outcome
        data["exit_code"] = code if self.exit_code is None else self.exit_code
        return {**data, "proven": self.proven}

    def to_json(self) -> str:
        """Strict JSON: what is not finite is text there."""
        return json.dumps(_plain(self.to_dict()), indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def __str__(self) -> str:
        return "\n".join([self.headline(), *(_line(each) for each in self.figures())])

    def headline(self) -> str:
        """The answer in one line; what is weak or changed stands before it."""
        head = f"{self.source} -> {self.target}: "
        if self.outcome not in ("", *(word for word, _ in OUTCOMES.values())):
            return f"{head}{self.outcome.upper()}"
        caveats = self.caveats()
        if self.passed is False:
            broken = f" {self.broken}".rstrip(" .")
            word = "NOT PROVED" if self.broken.startswith("nothing could be") else "NOT EQUAL"
            return f"{head}{word}.{broken}." if broken else f"{head}{word}."
        verdict = f"equal. It rests on {self.rests_on}." if self.passed else "not verified"
        return f"{head}{'; '.join(caveats)}; {verdict}" if caveats else head + verdict

    def caveats(self) -> list[str]:
        """What keeps the answer from being plainly 'equal'."""
        found = []
        if self.weak:
            moves = [self.sensitivity[name] for name in self.weak if name in self.sensitivity]
            verb, whose = ("moves", "its") if len(self.weak) == 1 else ("move", "their")
            how = f"{verb} by {max(moves):.1e} of {whose} size" if moves else f"hardly {verb}"
            found.append(f"WEAK EVIDENCE ({some(self.weak)} {how} with the input)")
        if self.trainable is not None and self.retrained:
            before, after = self.trainable["source"], self.trainable["target"]
            found.append(f"TRAINABLE PARAMETERS CHANGED ({before:,} in the source, {after:,} in the target)")
        if self.chaotic:
            far = max(number(value) or 0.0 for value in self.chaotic.values())
            found.append(
                f"CHAOTIC IN FLOAT32 (the source's own float32 answers are {far:.1%} off its own float64 ones)"
            )
        return found

    def by_road(self) -> list[str]:
        """The layers that took another road than a row, by road and class: 'opened: Gated (one, two)'."""
        found: dict[tuple[str, str], list[str]] = {}
        for each in self.roads:
            found.setdefault((each["road"], each["class"]), []).append(each["layer"])
        return [f"{road}: {cls} ({some(names)})" for (road, cls), names in found.items()]

    def figures(self) -> list[Figure]:
        """Every output of every rung, in the order of the road; a rung without outputs is one figure."""
        found = []
        for rung in self.rungs:
            place = (rung["name"], rung["device"], rung["precision"])
            if not rung["outputs"]:
                found.append(Figure(*place, "", rung["passed"], None, None, rung["note"]))
            for each in rung["outputs"]:
                judged = rung["passed"] is not None
                scale, tol = number(each.get("scale")), number(each["tol"])
                allowed = None if tol is None or not judged or each["max_rel"] is None else tol / (scale or 1.0)
                spot = None if each["worst"] is None else tuple(each["worst"])
                passed = each["passed"] if judged else None
                found.append(Figure(*place, each["name"], passed, each["max_rel"], allowed, each["reason"], spot))
        return found

    def worst(self) -> Figure | None:
        """The figure that is nearest to its limit, or furthest over it; None where nothing was judged."""
        judged = [each for each in self.figures() if each.passed is not None]
        return max(judged, key=lambda each: (not each.passed, each.closeness), default=None)


def number(value: Any) -> float | None:
    """A figure as a number; reports hold what is not finite as text."""
    try:
        return None if value is None else float(value)
    except ValueError:
        return None


def some(names: Sequence[str], most: int = 3) -> str:
    """The first names, and how many more there are."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


def versions() -> dict[str, str]:
    """Of the packages that take part."""
    from importlib import metadata

    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def sha256_of(path: Path) -> str:
    """The sha256 of a file; '' where it is none, or cannot be read."""
    try:
        if not path.is_file():  # a pipe or device would never end
            return ""
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return ""


def _line(each: Figure) -> str:
    verdict = {True: "ok", False: "FAIL", None: ""}[each.passed]
    figures = [("relative", each.max_rel), ("allowed", each.tol)]
    text = " ".join(f"{name} {figure(value)}" for name, value in figures if value is not None)
    return "  ".join(part for part in (f"  {each.where}", verdict, text, each.reason) if part)


def figure(value: Any) -> str:
    """A number in two digits."""
    return "" if value is None else value if isinstance(value, str) else f"{value:.1e}"


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value
