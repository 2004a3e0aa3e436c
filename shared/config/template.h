/* Filling an annotated reference configuration in: what `init` and `setup` write is the manual with a few values set. */
#ifndef POSTERN_CONFIG_TEMPLATE_H
#define POSTERN_CONFIG_TEMPLATE_H

#include "base/buffer.h"

/* One value for a key. A key given several times becomes a list. */
struct config_fill {
    const char *section, *key;
    struct slice value; /* quoted here where the file's grammar asks for it */
};

/* Copies the template and, in each fill's section, puts "key = value" in place of the first line that sets the key, whether it stands commented out ("#key = ...") or
 * not; other lines of that key in the section are dropped. RESULT_OK; RESULT_NOT_FOUND: the template has no such line; RESULT_SYNTAX: a value
 * holds a control character; RESULT_LIMIT, RESULT_MEMORY. */
MUST_CHECK enum result config_template_fill(struct slice template_text, const struct config_fill *fills, size_t n, struct buffer *out);

#endif
