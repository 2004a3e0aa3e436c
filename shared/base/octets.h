/* Numbers as octets, the highest octet first: network order. */
#ifndef POSTERN_BASE_OCTETS_H
#define POSTERN_BASE_OCTETS_H

#include <stddef.h>
#include <stdint.h>

/* The lowest `noctets` octets of the number, at most 8; gives where the next thing goes. */
void *octets_put(void *at, uint64_t number, size_t noctets);
uint64_t octets_get(const void *at, size_t noctets);

#endif
