"""The rig's classes by the names that an annotation tool gives them."""

import difflib
from collections.abc import Iterable, Mapping

from sartm_core.errors import SartmError
from sartm_core.rig import Rig
from sartm_core.segmentation import UNLABELLED

NO_CLASS = frozenset(
    {"background", "unlabelled", "unlabeled", "ignore", "void", "", "_background_", "__ignore__"}  # Labelme's last two
)


def classes_by_name(
    names: Iterable[str], rig: Rig, source: object, mapped: Mapping[str, int] | None = None
) -> dict[str, int]:
    """Class ids by name, 255 for none.

    Args:
        names: as the annotation tool spells them.
        rig: gives the classes; a name that differs in case alone is not taken for one.
        source: named in errors.
        mapped: ids of names that the rig spells differently.

    Raises:
        SartmError: names that are neither classes nor stand for none; lists all of them.
    """
    known = {name: index for index, name in enumerate(rig.class_names)} | dict(mapped or {})
    lower = {name.lower() for name in rig.class_names}
    found: dict[str, int] = {}
    unknown: list[str] = []
    for name in dict.fromkeys(names):
        key = name.strip()
        if key in known:
            found[name] = known[key]
        elif key.lower() in NO_CLASS and key.lower() not in lower:
            found[name] = UNLABELLED
        else:
            unknown.append(key)
    if unknown:
        raise SartmError(f"{source}: {_unknown(unknown, rig.class_names)}")
    return found


def _unknown(names: list[str], classes: tuple[str, ...]) -> str:
    quoted = ", ".join(f"'{name}'" for name in names)
    verb = f"class {quoted} is" if len(names) == 1 else f"classes {quoted} are"
    hints = "".join(_hint(name, classes) for name in names)
    return (
        f"{verb} not in the rig: {', '.join(classes)}.{hints} Rename it there, call it 'background' to leave its "
        "pixels unlabelled, or translate names with --table: a CSV with the columns name (the tool's) and class (the "
        "rig's, or empty)."
    )


def _hint(name: str, classes: tuple[str, ...]) -> str:
    same = [known for known in classes if known.lower() == name.lower()]
    if same:
        return f" '{name}' differs from '{same[0]}' in upper and lower case."
    close = difflib.get_close_matches(name, classes, n=1)
    return f" Is '{name}' '{close[0]}'?" if close else ""
