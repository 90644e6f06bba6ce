"""The compiled kernels; everything else about the package is in pyproject.toml."""

import os
import sys

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

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

SOURCE = "src/freightrisk"
SHARED_CODE = "freightrisk._cyutility"  # Cython's own code for arrays, once instead of in every kernel
KERNELS = ("_blocks", "_codes", "_core", "_fit", "_plan", "_rounding", "_settle")
SHARED = [f"{SOURCE}/{name}" for name in ("_blocks.pxd", "_plan.pxd", "_rounding.pxd", "_settle.pxd", "_simd.h")]


class BuildKernels(build_ext):
    def finalize_options(self):
        super().finalize_options()
        self.force = True  # sources do not show which mode they were compiled in
        self.parallel = self.parallel or True  # the C compiler on every core

    def build_extensions(self):
        # Without errno a square root is one instruction, and a loop of them is vectorised; its value is the same.
        flags = ["-O3" if MODE == "release" else "-O1", "-g0", "-ffp-contract=off", "-fno-math-errno"]
        if self.compiler.compiler_type == "msvc":
            flags = ["/O2", "/fp:precise"]
        translated = cythonize(
            self.extensions,
            force=True,
            quiet=not self.verbose,
            build_dir=None if MODE == "trace" else self.build_temp,  # Cython.Coverage reads the .c beside the .pyx
            compiler_directives=DIRECTIVES[MODE],
            shared_utility_qualified_name=SHARED_CODE,
        )
        for kernel, in_c in zip(self.extensions, translated, strict=True):
            kernel.sources, kernel.extra_compile_args = in_c.sources, flags
        super().build_extensions()


shared_code = Extension(SHARED_CODE, [f"{SOURCE}/_cyutility.c"])  # Cython writes it
kernels = [
    Extension(
        f"freightrisk.{name}", [f"{SOURCE}/{name}.pyx"], include_dirs=[SOURCE], define_macros=MACROS, depends=SHARED
    )
    for name in KERNELS
]
setup(ext_modules=[shared_code, *kernels], cmdclass={"build_ext": BuildKernels})
