/* Copying and comparing bytes, for x86_64 with musl. What a tracer sends is thousands of texts of some ten bytes, which
 * musl copies with an instruction that takes longer to begin than to end, and compares byte by byte. */

typedef unsigned long size;
typedef unsigned char byte;
typedef struct { unsigned short v; } __attribute__((packed, may_alias)) two;
typedef struct { unsigned int v; } __attribute__((packed, may_alias)) four;
typedef struct { unsigned long v; } __attribute__((packed, may_alias)) eight;
typedef long long sixteen __attribute__((vector_size(16), aligned(1), may_alias));

#define AT(type, p, i) (*(type *)((p) + (i)))
#define OF(type, p, i) (*(const type *)((p) + (i)))

/* Where an instruction for whole strings has become worth its beginning. */
enum { LONG = 2048 };

/* All that is read is read before anything is written: the two may overlap. */
static void *up_to_128(byte *to, const byte *from, size n) {
    if (n > 64) {
        sixteen a = OF(sixteen, from, 0), b = OF(sixteen, from, 16), c = OF(sixteen, from, 32), d = OF(sixteen, from, 48);
        sixteen e = OF(sixteen, from, n - 64), f = OF(sixteen, from, n - 48), g = OF(sixteen, from, n - 32), h = OF(sixteen, from, n - 16);
        AT(sixteen, to, 0) = a, AT(sixteen, to, 16) = b, AT(sixteen, to, 32) = c, AT(sixteen, to, 48) = d;
        AT(sixteen, to, n - 64) = e, AT(sixteen, to, n - 48) = f, AT(sixteen, to, n - 32) = g, AT(sixteen, to, n - 16) = h;
    } else if (n > 32) {
        sixteen a = OF(sixteen, from, 0), b = OF(sixteen, from, 16), c = OF(sixteen, from, n - 32), d = OF(sixteen, from, n - 16);
        AT(sixteen, to, 0) = a, AT(sixteen, to, 16) = b, AT(sixteen, to, n - 32) = c, AT(sixteen, to, n - 16) = d;
    } else if (n >= 16) {
        sixteen a = OF(sixteen, from, 0), b = OF(sixteen, from, n - 16);
        AT(sixteen, to, 0) = a, AT(sixteen, to, n - 16) = b;
    } else if (n >= 8) {
        eight a = OF(eight, from, 0), b = OF(eight, from, n - 8);
        AT(eight, to, 0) = a, AT(eight, to, n - 8) = b;
    } else if (n >= 4) {
        four a = OF(four, from, 0), b = OF(four, from, n - 4);
        AT(four, to, 0) = a, AT(four, to, n - 4) = b;
    } else if (n >= 2) {
        two a = OF(two, from, 0), b = OF(two, from, n - 2);
        AT(two, to, 0) = a, AT(two, to, n - 2) = b;
    } else if (n) {
        *to = *from;
    }
    return to;
}

static void forwards(byte *to, const byte *from, size n) {
    sixteen a = OF(sixteen, from, n - 64), b = OF(sixteen, from, n - 48), c = OF(sixteen, from, n - 32), d = OF(sixteen, from, n - 16);
    byte *end = to + n;
    for (size left = n; left > 64; left -= 64, to += 64, from += 64) {
        sixteen e = OF(sixteen, from, 0), f = OF(sixteen, from, 16), g = OF(sixteen, from, 32), h = OF(sixteen, from, 48);
        AT(sixteen, to, 0) = e, AT(sixteen, to, 16) = f, AT(sixteen, to, 32) = g, AT(sixteen, to, 48) = h;
    }
    AT(sixteen, end, -64) = a, AT(sixteen, end, -48) = b, AT(sixteen, end, -32) = c, AT(sixteen, end, -16) = d;
}

static void backwards(byte *to, const byte *from, size n) {
    sixteen a = OF(sixteen, from, 0), b = OF(sixteen, from, 16), c = OF(sixteen, from, 32), d = OF(sixteen, from, 48);
    for (size left = n; left > 64; left -= 64) {
        const byte *of = from + left;
        byte *at = to + left;
        sixteen e = OF(sixteen, of, -16), f = OF(sixteen, of, -32), g = OF(sixteen, of, -48), h = OF(sixteen, of, -64);
        AT(sixteen, at, -16) = e, AT(sixteen, at, -32) = f, AT(sixteen, at, -48) = g, AT(sixteen, at, -64) = h;
    }
    AT(sixteen, to, 0) = a, AT(sixteen, to, 16) = b, AT(sixteen, to, 32) = c, AT(sixteen, to, 48) = d;
}

void *memmove(void *to, const void *from, size n) {
    if (n <= 128) return up_to_128(to, from, n);
    if ((size)((byte *)to - (const byte *)from) < n) {
        backwards(to, from, n);
    } else if (n >= LONG && (size)((const byte *)from - (byte *)to) >= n) {
        void *at = to;
        __asm__ volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(n) : : "memory");
    } else {
        forwards(to, from, n);
    }
    return to;
}

void *memcpy(void *to, const void *from, size n) { return memmove(to, from, n); }

int memcmp(const void *one, const void *other, size n) {
    const byte *a = one, *b = other;
    for (; n >= 8; n -= 8, a += 8, b += 8) {
        size x = OF(eight, a, 0).v, y = OF(eight, b, 0).v;
        if (x != y) {
            x = __builtin_bswap64(x), y = __builtin_bswap64(y);
            return x < y ? -1 : 1;
        }
    }
    for (; n; n--, a++, b++)
        if (*a != *b) return *a - *b;
    return 0;
}

int bcmp(const void *one, const void *other, size n) { return memcmp(one, other, n); }
