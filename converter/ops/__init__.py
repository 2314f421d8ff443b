"""Facts about operators, for both directions. Importing the package fills the registries from every family file."""

import importlib
import pkgutil

for _family in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_family.name}")
