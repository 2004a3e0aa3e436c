/* What both ends of SASL share: names of mechanisms, and what text may be a name or a password. */
#include "smtp/sasl.h"

#include "base/utf8.h"

static const struct {
    enum sasl_mechanism mechanism;
    const char *name;
} mechanisms[] = {
    {SASL_SCRAM_SHA_256_PLUS, "SCRAM-SHA-256-PLUS"},
    {SASL_SCRAM_SHA_256, "SCRAM-SHA-256"},
    {SASL_PLAIN, "PLAIN"},
    {SASL_LOGIN, "LOGIN"},
    {SASL_HT_SHA_256_EXPR, "HT-SHA-256-EXPR"},
};
enum { NMECHANISMS = sizeof mechanisms / sizeof *mechanisms };

const char *sasl_mechanism_name(enum sasl_mechanism mechanism)
{
    for (size_t i = 0; i < NMECHANISMS; i++)
        if (mechanisms[i].mechanism == mechanism)
            return mechanisms[i].name;
    return "";
}

enum sasl_mechanism sasl_mechanism_parse(struct slice name)
{
    for (size_t i = 0; i < NMECHANISMS; i++)
        if (slice_equal_nocase(name, slice_from_cstr(mechanisms[i].name)))
            return mechanisms[i].mechanism;
    return 0;
}

bool sasl_text_is_valid(struct slice text, size_t max)
{
    if (text.len == 0 || text.len > max)
        return false;
    while (text.len > 0) {
        uint32_t character;
        size_t len = utf8_next(text, &character);
        if (len == 0 || utf8_is_control(character))
            return false;
        text = slice_skip(text, len);
    }
    return true;
}
