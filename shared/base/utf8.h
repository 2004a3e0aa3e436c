/* Well-formed UTF-8 (RFC 3629): no overlong forms, no surrogates, nothing beyond U+10FFFF. */
#ifndef POSTERN_BASE_UTF8_H
#define POSTERN_BASE_UTF8_H

#include "base/slice.h"

/* The octets of the character at the front of s, and which it is; 0: s is empty or does not begin with a well-formed one. */
size_t utf8_next(struct slice s, uint32_t *character);
bool utf8_is_valid(struct slice s);
/* C0, DEL, C1, and what can turn or hide the text around it: bidirectional controls, line and paragraph separators, zero-width marks. */
bool utf8_is_control(uint32_t character);

#endif
