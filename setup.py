"""Build of the compiled kernels; pyproject.toml has everything else about the package."""

import os
import sys

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

MODE = os.environ.get("FREIGHTRISK_BUILD", "release")
# cdivision is set in every mode, because it decides the signs of // and %, and the modes must give the same results.
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
SHARED_CODE = "freightrisk._cyutility"  # Cython's own code for arrays, built once instead of into every kernel
KERNELS = (
    "_blocks",
    "_codes",
    "_core",
    "_curves",
    "_fit",
    "_funds",
    "_limits",
    "_loads",
    "_masks",
    "_plan",
    "_rounding",
    "_settle",
)
SHARED = [
    f"{SOURCE}/_{name}"
    for name in (
        "blocks.pxd",
        "curves.pxd",
        "funds.pxd",
        "limits.pxd",
        "loads.pxd",
        "plan.pxd",
        "rounding.pxd",
        "settle.pxd",
        "simd.h",
    )
]


class BuildKernels(build_ext):
    def finalize_options(self):
        super().finalize_options()
        self.force = True  # always rebuild, because time stamps do not show the mode of an earlier build
        self.parallel = self.parallel or True  # one C compiler on each core

    def build_extensions(self):
        # -ffp-contract=off: a fused multiply-add rounds once instead of twice, so prices would depend on the machine.
        # -fno-math-errno: a square root becomes one instruction that loops can vectorise, and its value is the same.
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
