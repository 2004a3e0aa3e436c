#include "base/octets.h"

void *octets_put(void *at, uint64_t number, size_t noctets)
{
    uint8_t *octet = at;
    for (size_t i = noctets; i > 0; i--)
        *octet++ = (uint8_t)(number >> (8 * (i - 1)));
    return octet;
}

uint64_t octets_get(const void *at, size_t noctets)
{
    const uint8_t *octet = at;
    uint64_t number = 0;
    for (size_t i = 0; i < noctets; i++)
        number = number << 8 | octet[i];
    return number;
}
