/* Copies of inputs that fault when read or written where they should not be.
 *
 * guard_dup(s) gives a copy of s that ends right before an inaccessible page and is itself read-only: a parser that
 * looks one octet too far, counts on a NUL, or scribbles on its input dies at once, also in a build without
 * sanitizers. The copy starts anywhere in its page, so reads before it are only caught a page away.
 *
 * Every copy is ended with guard_free, which clears the slice; after that any access to it faults, too. A
 * failing mmap ends the test program: there is nothing to test then. */
#ifndef POSTERN_TESTS_SUPPORT_GUARD_H
#define POSTERN_TESTS_SUPPORT_GUARD_H

#include "base/slice.h"

struct slice guard_dup(struct slice s);
void guard_free(struct slice *copy);

#endif
