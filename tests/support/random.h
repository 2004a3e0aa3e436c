/* Numbers that are the same in every run of a seed: splitmix64. Any seed will do. */
#ifndef POSTERN_TESTS_SUPPORT_RANDOM_H
#define POSTERN_TESTS_SUPPORT_RANDOM_H

#include <stddef.h>
#include <stdint.h>

uint64_t random_draw(uint64_t *seed);
/* In 0 .. bound-1; bound is not 0. */
size_t random_below(uint64_t *seed, size_t bound);

#endif
