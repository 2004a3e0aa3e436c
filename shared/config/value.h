/* The forms of configuration values: text in, a field out. Private to this folder. */
#ifndef POSTERN_CONFIG_VALUE_H
#define POSTERN_CONFIG_VALUE_H

#include "config/config.h"

/* Octets of one field or list item of the key. */
size_t config_value_size(const struct config_key *key);
/* Takes the quotes off: "a \"b\" \\c" in quotes, or text as it is. out has CONFIG_LINE_MAX octets. RESULT_OK; RESULT_SYNTAX: *why says what is wrong. */
MUST_CHECK enum result config_value_unquote(struct slice text, char *out, struct slice *unquoted, const char **why);
/* Parses a value without its quotes into *out. file: for relative paths. RESULT_OK; RESULT_MEMORY; else refused, and value->why may say why. */
MUST_CHECK enum result config_value_parse(const struct config_key *key, const char *file, struct config_value *value, void *out);

#endif
