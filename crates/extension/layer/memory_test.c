/* memory.c beside the C library's own: all short lengths, all overlaps, wherever two texts differ. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *our_memmove(void *to, const void *from, size_t n);
void *our_memcpy(void *to, const void *from, size_t n);
int our_memcmp(const void *one, const void *other, size_t n);
int our_bcmp(const void *one, const void *other, size_t n);

enum { ROOM = 16384, AT = 4000, MOST = 6000, FAR = 300 };
static unsigned char theirs[ROOM], ours[ROOM];

static void fill(int n) {
    for (int i = 0; i < n; i++) theirs[i] = ours[i] = rand();
}

static int sign(int n) { return (n > 0) - (n < 0); }

static int wrong(const char *what, size_t n, long at) {
    printf("%s of %zu bytes, %ld\n", what, n, at);
    return 1;
}

static int moves(void) {
    for (size_t n = 0; n < MOST; n += n < FAR ? 1 : 97)
        for (long by = -FAR; by <= FAR; by += by > -20 && by < 20 ? 1 : 37) {
            fill(ROOM);
            memmove(theirs + AT + by, theirs + AT, n);
            void *to = ours + AT + by;
            if (our_memmove(to, ours + AT, n) != to || memcmp(theirs, ours, ROOM)) return wrong("memmove", n, by);
        }
    for (size_t n = 0; n < MOST; n += n < FAR ? 1 : 97) {
        fill(ROOM);
        memcpy(theirs + 8001, theirs + 1003, n);
        our_memcpy(ours + 8001, ours + 1003, n);
        if (memcmp(theirs, ours, ROOM)) return wrong("memcpy", n, 0);
    }
    return 0;
}

static int compares(void) {
    for (size_t n = 0; n < 200; n++)
        for (size_t at = 0; at <= n; at++) {
            fill(256);
            if (at < n) ours[at] ^= 1 + rand() % 255;
            int expected = memcmp(theirs, ours, n);
            if (sign(our_memcmp(theirs, ours, n)) != sign(expected)) return wrong("memcmp", n, at);
            if (!our_bcmp(theirs, ours, n) != !expected) return wrong("bcmp", n, at);
        }
    return 0;
}

int main(void) { return moves() || compares(); }
