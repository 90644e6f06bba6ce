#!/usr/bin/env bash
# Builds the kernels in a temporary copy, with checks of every index, AddressSanitizer and UndefinedBehaviorSanitizer.
# Then runs the kernel's tests and a short attack there. The checkout is not changed.
#   bash benchmarks/attack/sanitized.sh [PYTHON]
# It needs gcc. The variables DOCUMENTS=2000 FRAMES=500 ARGUMENTS=300 set the numbers of cases.
set -euo pipefail
python=${1:-python3}
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tar -cf - --exclude=.git --exclude='*.so' --exclude='*.c' --exclude=build setup.py pyproject.toml README.md README.zh-CN.md \
    ARCHITECTURE.md LICENSE src tests docs benchmarks | tar -C "$work" -xf -
cd "$work"

# Without wider vectors: a resolver selects the copy of a function, and it runs before the sanitizer has started.
sed -i 's/__GNUC__ >= 12/__GNUC__ >= 99/' src/freightrisk/_simd.h
grep -q '__GNUC__ >= 99' src/freightrisk/_simd.h || { echo "the switch of the vectors has another name" >&2; exit 2; }
export CFLAGS="-fsanitize=address,undefined,float-cast-overflow -fno-sanitize-recover=all -fno-omit-frame-pointer -g -O1"
export LDFLAGS="-fsanitize=address,undefined"
FREIGHTRISK_BUILD=checked "$python" setup.py -q build_ext --inplace
unset CFLAGS LDFLAGS

# No leak detection, because the leaks are the interpreter's own. A refused allocation stays a MemoryError.
export ASAN_OPTIONS=detect_leaks=0:halt_on_error=1:allocator_may_return_null=1
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 PYTHONMALLOC=malloc
export PYTHONPATH="$work/src" HYPOTHESIS_PROFILE=quick OPENBLAS_NUM_THREADS=1
preload="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libstdc++.so)"
watched() { LD_PRELOAD="$preload" "$python" "$@"; }

watched -c 'from freightrisk import _blocks, _core; print(_core.__file__); assert _blocks.CHECKED'
echo "=== tests of the kernel"
watched -m pytest -q -p no:cacheprovider -m "not slow" tests/test_core_price.py tests/test_core_fit.py tests/test_recode.py \
    tests/test_memory.py
echo "=== documents"
watched -m benchmarks.attack documents --cases "${DOCUMENTS:-2000}"
echo "=== frames"
watched -m benchmarks.attack frames --cases "${FRAMES:-500}"
echo "=== arguments"
watched -m benchmarks.attack arguments --cases "${ARGUMENTS:-300}"
