"""The compiled kernel; everything else about the package is in pyproject.toml."""

import os
import sys

from Cython.Distutils.build_ext import build_ext
from setuptools import Extension, setup

MODE = os.environ.get("FREIGHTRISK_BUILD", "release")
# cdivision in every mode: it sets the signs of // and %, so a build without it would compute something else.
BASE = {"cdivision": True, "wraparound": False, "boundscheck": False, "initializedcheck": False}
CHECKED = ("boundscheck", "initializedcheck", "nonecheck", "overflowcheck")
CHECKS = BASE | dict.fromkeys(CHECKED, True) | {"show_performance_hints": False}
DIRECTIVES = {"release": BASE, "checked": CHECKS, "trace": BASE | {"linetrace": True, "binding": True}}
if MODE not in DIRECTIVES:
    sys.exit(f"FREIGHTRISK_BUILD is {MODE!r}; set it to one of {', '.join(DIRECTIVES)}, or unset it.")

MACROS = [("FREIGHTRISK_CHECKED", str(int(MODE == "checked")))]
if MODE == "trace":  # coverage's C tracer sees line events only from the classic hook, not from sys.monitoring
    MACROS += [("CYTHON_TRACE", "1"), ("CYTHON_TRACE_NOGIL", "1"), ("CYTHON_USE_SYS_MONITORING", "0")]


class BuildKernel(build_ext):
    def finalize_options(self):
        super().finalize_options()
        self.force = True  # sources do not show which mode they were compiled in
        self.cython_c_in_temp = MODE != "trace"  # Cython.Coverage reads the .c beside the .pyx

    def build_extension(self, ext):
        # Without errno a square root is one instruction, and a loop of them is vectorised; its value is the same.
        flags = ["-O3" if MODE == "release" else "-O1", "-g0", "-ffp-contract=off", "-fno-math-errno"]
        ext.extra_compile_args = ["/O2", "/fp:precise"] if self.compiler.compiler_type == "msvc" else flags
        super().build_extension(ext)


kernel = Extension("freightrisk._core", ["src/freightrisk/_core.pyx"], define_macros=MACROS)
kernel.cython_directives = DIRECTIVES[MODE]
setup(ext_modules=[kernel], cmdclass={"build_ext": BuildKernel})
