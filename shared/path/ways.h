/* Ways (path/finder.h) in lists, and out of the parameters of XWAYS (schema/link.md): the ways that a relay tells of itself in its EHLO, "465/tls 587/starttls 198.51.100.7:8443/tls [2001:db8::1]:8443/tls". */
#ifndef POSTERN_PATH_WAYS_H
#define POSTERN_PATH_WAYS_H

#include "path/finder.h"

/* The ways in the order in which they stand, at most max of them; returns how many. What is none (an unknown mode, a bad address, port 0) is passed over: a later
 * relay may say more than we know. A way that stands twice counts once. */
size_t path_ways_parse(struct slice text, struct finder_way *out, size_t max);

bool path_way_equal(const struct finder_way *a, const struct finder_way *b);
bool path_ways_have(const struct finder_way *ways, size_t n, const struct finder_way *way);

#endif
