"""Maps the classes of one data set to another's, for cross-dataset evaluation."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from sartm_core.checked_yaml import Checked, read_yaml
from sartm_core.errors import SartmError
from sartm_core.resources import resolve_config
from sartm_core.rig import Rig
from sartm_core.segmentation import UNLABELLED


class ClassMap(Checked):
    """A class-mapping file.

    Attributes:
        classes: the model's class -> the data's, null for none. Several may share one.
    """

    classes: dict[str, str | None] = Field(min_length=1)

    @classmethod
    def same(cls, model: Rig, data: Rig) -> "ClassMap":
        """For a model and data with the same classes.

        Raises:
            SartmError: they differ.
        """
        if model.class_names != data.class_names:
            raise SartmError(
                f"the model's classes ({', '.join(model.class_names)}) are not those of '{data.name}' "
                f"({', '.join(data.class_names)}). Give a class-mapping file with --classes."
            )
        return cls(classes={name: name for name in model.class_names})

    def table(self, model: Rig, data: Rig) -> NDArray[np.uint8]:
        """uint8 [256]: the model's class id -> the data's, 255 for none.

        Raises:
            SartmError: a class of the model is missing, or a name is unknown.
        """
        missing = [name for name in model.class_names if name not in self.classes]
        unknown = [name for name in self.classes if name not in model.class_names]
        if missing or unknown:
            what = f"lacks '{missing[0]}'" if missing else f"names '{unknown[0]}'"
            raise SartmError(f"class map: {what}; the model's classes are {', '.join(model.class_names)}.")
        ids = {name: index for index, name in enumerate(data.class_names)}
        wrong = [name for name in self.classes.values() if name is not None and name not in ids]
        if wrong:
            raise SartmError(f"class map: '{wrong[0]}' is not a class of '{data.name}': {', '.join(data.class_names)}.")
        table = np.full(256, UNLABELLED, np.uint8)
        for index, name in enumerate(model.class_names):
            target = self.classes[name]
            if target is not None:
                table[index] = ids[target]
        return table


def load_class_map(name_or_path: str | Path) -> ClassMap:
    """Reads a class-mapping file, or a shipped one by its name (`deliver_to_muses`, `muses_to_deliver`)."""
    return read_yaml(resolve_config(str(name_or_path), "class_maps"), ClassMap)
