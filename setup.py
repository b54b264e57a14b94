"""Declares the compiled modules; setup.cfg has everything else.

C{EGRESS_COMPILE=1 pip install .} compiles the modules of the hot path with mypyc.  Otherwise, nothing is compiled.
"""

from __future__ import annotations

import os
import runpy
import sys
from configparser import ConfigParser
from typing import Any

from setuptools import setup

_COMPILING = frozenset({"bdist_wheel", "build", "build_ext", "editable_wheel"})
# They have no types (see pyproject.toml), and no wheels for some systems.
_WITHOUT_TYPES = ("brotli ", "google-re2 ")


def requirements() -> list[str]:
    """Return what the compiler needs: itself, and everything that the modules import, because it reads the types."""
    config = ConfigParser()
    config.read("setup.cfg", encoding="utf-8")
    lists = config["options"]["install_requires"], config["options.extras_require"]["types"]
    return [line for text in lists for line in text.splitlines() if line and not line.startswith(_WITHOUT_TYPES)]


def extensions() -> list[Any]:
    """Return the extension modules."""
    from mypyc.build import mypycify

    names = runpy.run_path("egress/runtime/build.py")["COMPILED"]
    modules = mypycify([f"{name.replace('.', '/')}.py" for name in names], opt_level="2", debug_level="0")
    if os.name == "posix":
        for module in modules:
            # For this warning, gcc reads the C source again for each "if": more than half of the compilation.
            module.extra_compile_args.append("-Wno-misleading-indentation")
    return modules


if os.environ.get("EGRESS_COMPILE") != "1":
    setup()
elif _COMPILING.intersection(sys.argv):
    setup(ext_modules=extensions())
else:
    # pip asks for the requirements and the metadata first.
    setup(setup_requires=requirements())
