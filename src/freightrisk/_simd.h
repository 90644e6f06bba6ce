/* The parts of the kernels that need C: instruction sets, promises to the compiler, bits of doubles, rows of tables.
 *
 * Everything is static: each kernel that includes this header has its own copy.
 */
#ifndef FREIGHTRISK_SIMD_H
#define FREIGHTRISK_SIMD_H

#include <string.h>

#ifndef FREIGHTRISK_CHECKED
#define FREIGHTRISK_CHECKED 0
#endif

/* One binary holds the loops for several instruction sets. The loader selects the widest set that the machine supports.
 * All sets compute the same fen, because with -ffp-contract=off they do the same IEEE operations. */
#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12 \
    && !FREIGHTRISK_CHECKED && !defined(CYTHON_TRACE)
#define FREIGHTRISK_WIDE __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#else
#define FREIGHTRISK_WIDE
#endif

#ifdef _MSC_VER
#define FREIGHTRISK_ALONE __restrict
#else
#define FREIGHTRISK_ALONE __restrict__
#endif

#ifdef __has_builtin
#if __has_builtin(__builtin_shufflevector)
#define FREIGHTRISK_VECTORS
#endif
#endif

#ifdef FREIGHTRISK_VECTORS
#define FREIGHTRISK_INLINE __attribute__((always_inline, unused)) static inline
#else
#define FREIGHTRISK_INLINE static inline
#endif

FREIGHTRISK_INLINE int freightrisk_low_word(double x) {
    long long word;
    memcpy(&word, &x, 8);
    return (int)word;
}

FREIGHTRISK_INLINE long long freightrisk_word(double x) {
    long long word;
    memcpy(&word, &x, 8);
    return word;
}

FREIGHTRISK_INLINE double freightrisk_real(long long word) {
    double x;
    memcpy(&x, &word, 8);
    return x;
}

/* exp(x) for -708 <= x <= 709, to one unit in the last place. With x = k log 2 + r, it is 2^k times a Taylor polynomial
 * of r. log 2 is split into two parts, so that r is exact. The function consists of products and sums, so that loops of
 * it are vectorised. Adding 1.5 * 2^52 rounds x / log 2 to the integer k and leaves k in the low bits of t. */
FREIGHTRISK_INLINE double freightrisk_exponential(double x) {
    long long bits;
    double t, k, r, p;
    t = x * 1.4426950408889634 + 6755399441055744.0;
    k = t - 6755399441055744.0;
    r = (x - k * 6.93147180369123816490e-01) - k * 1.90821492927058770002e-10;
    p = 1.0 + r * (1.0 + r * (1.0 / 2 + r * (1.0 / 6 + r * (1.0 / 24 + r * (1.0 / 120 + r * (1.0 / 720
        + r * (1.0 / 5040 + r * (1.0 / 40320 + r * (1.0 / 362880 + r * (1.0 / 3628800 + r * (1.0 / 39916800
        + r * (1.0 / 479001600 + r / 6227020800.0))))))))))));
    memcpy(&bits, &t, 8);
    bits = (long long)(((unsigned long long)bits + 1023) << 52);
    memcpy(&t, &bits, 8);
    return p * t;
}

/* `some_pairs` is the plain form of `four_pairs`, for rows that do not fill a vector. */
FREIGHTRISK_INLINE void freightrisk_some_pairs(const int *const *place, const double *const *tables, int n_tables,
                                               long long row, long long stop, double base, double beside,
                                               double *first, double *second) {
    int t;
    for (; row < stop; row++) {
        double x = base, y = beside;
        for (t = 0; t < n_tables; t++) {
            x *= tables[t][place[t][row]];
            y *= tables[t][place[t][row] + 1];
        }
        first[row] = x;
        second[row] = y;
    }
}

#ifdef FREIGHTRISK_VECTORS
/* A gather instruction takes as long for each entry as a load. Adjacent entries are therefore loaded as one vector, for
 * four rows at a time, and transposed. */
typedef double freightrisk_two __attribute__((vector_size(16), aligned(8), may_alias));
typedef double freightrisk_four __attribute__((vector_size(32), aligned(8), may_alias));
#define FREIGHTRISK_PICK __builtin_shufflevector
#define FREIGHTRISK_TWO(from) (*(const freightrisk_two *)(from))
#define FREIGHTRISK_FOUR(from) (*(const freightrisk_four *)(from))

FREIGHTRISK_INLINE void freightrisk_four_pieces(const double *curve, const int *piece, const double *u,
                                                double *value) {
    freightrisk_four p = FREIGHTRISK_FOUR(curve + piece[0]), a, b, c, d;
    freightrisk_four q = FREIGHTRISK_FOUR(curve + piece[1]);
    freightrisk_four r = FREIGHTRISK_FOUR(curve + piece[2]);
    freightrisk_four s = FREIGHTRISK_FOUR(curve + piece[3]);
    freightrisk_four v = FREIGHTRISK_FOUR(u);
    a = FREIGHTRISK_PICK(p, q, 0, 4, 2, 6);
    b = FREIGHTRISK_PICK(p, q, 1, 5, 3, 7);
    c = FREIGHTRISK_PICK(r, s, 0, 4, 2, 6);
    d = FREIGHTRISK_PICK(r, s, 1, 5, 3, 7);
    p = FREIGHTRISK_PICK(a, c, 0, 1, 4, 5);
    q = FREIGHTRISK_PICK(b, d, 0, 1, 4, 5);
    r = FREIGHTRISK_PICK(a, c, 2, 3, 6, 7);
    s = FREIGHTRISK_PICK(b, d, 2, 3, 6, 7);
    *(freightrisk_four *)value = (((s * v + r) * v + q) * v + p) * FREIGHTRISK_FOUR(value);
}

/* Rows 0 and 2 share one vector, and rows 1 and 3 the other. Each row holds both products side by side; after the last
 * table, the products of the two models are separated. */
FREIGHTRISK_INLINE void freightrisk_four_pairs(const int *const *place, const double *const *tables, int n_tables,
                                               long long row, double base, double beside, double *first,
                                               double *second) {
    freightrisk_four p = {base, beside, base, beside}, q = p;
    int t;
    for (t = 0; t < n_tables; t++) {
        const int *at = place[t] + row;
        p *= FREIGHTRISK_PICK(FREIGHTRISK_TWO(tables[t] + at[0]), FREIGHTRISK_TWO(tables[t] + at[2]), 0, 1, 2, 3);
        q *= FREIGHTRISK_PICK(FREIGHTRISK_TWO(tables[t] + at[1]), FREIGHTRISK_TWO(tables[t] + at[3]), 0, 1, 2, 3);
    }
    *(freightrisk_four *)(first + row) = FREIGHTRISK_PICK(p, q, 0, 4, 2, 6);
    *(freightrisk_four *)(second + row) = FREIGHTRISK_PICK(p, q, 1, 5, 3, 7);
}

FREIGHTRISK_INLINE void freightrisk_four_singles(const double *table, const int *code, double *value) {
    freightrisk_four found = {table[code[0]], table[code[1]], table[code[2]], table[code[3]]};
    *(freightrisk_four *)value *= found;
}
#else
FREIGHTRISK_INLINE void freightrisk_four_pieces(const double *curve, const int *piece, const double *u,
                                                double *value) {
    int k;
    for (k = 0; k < 4; k++) {
        const double *p = curve + piece[k];
        value[k] *= ((p[3] * u[k] + p[2]) * u[k] + p[1]) * u[k] + p[0];
    }
}

FREIGHTRISK_INLINE void freightrisk_four_pairs(const int *const *place, const double *const *tables, int n_tables,
                                               long long row, double base, double beside, double *first,
                                               double *second) {
    freightrisk_some_pairs(place, tables, n_tables, row, row + 4, base, beside, first, second);
}

FREIGHTRISK_INLINE void freightrisk_four_singles(const double *table, const int *code, double *value) {
    int k;
    for (k = 0; k < 4; k++) value[k] *= table[code[k]];
}
#endif

/* Up to six tables, each number of tables has its own loop, which keeps their addresses in registers. */
#define FREIGHTRISK_PAIRS(N) \
    for (row = 0; row + 4 <= n; row += 4) freightrisk_four_pairs(at, in, N, row, base, beside, first, second)
FREIGHTRISK_INLINE void freightrisk_pairs(const int *const *place, const double *const *tables, int n_tables, int n,
                                          double base, double beside, double *first, double *second) {
    const int *at[6];
    const double *in[6];
    long long row;
    int t;
    for (t = 0; t < n_tables && t < 6; t++) { at[t] = place[t]; in[t] = tables[t]; }
    switch (n_tables) {
        case 1: FREIGHTRISK_PAIRS(1); break;
        case 2: FREIGHTRISK_PAIRS(2); break;
        case 3: FREIGHTRISK_PAIRS(3); break;
        case 4: FREIGHTRISK_PAIRS(4); break;
        case 5: FREIGHTRISK_PAIRS(5); break;
        case 6: FREIGHTRISK_PAIRS(6); break;
        default:
            for (row = 0; row + 4 <= n; row += 4)
                freightrisk_four_pairs(place, tables, n_tables, row, base, beside, first, second);
    }
    freightrisk_some_pairs(place, tables, n_tables, n - n % 4, n, base, beside, first, second);
}

#endif
