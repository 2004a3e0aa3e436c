#include "mail/mailbox_list.h"

#include <string.h>

/* ---- tokens: RFC 5322 3.2 ---- */

enum token_type {
    TOKEN_END,
    TOKEN_BAD,
    TOKEN_ATOM,
    TOKEN_QUOTED,  /* with its quotes */
    TOKEN_LITERAL, /* with its brackets */
    TOKEN_SPECIAL, /* one of < > @ , ; : . */
};

struct token {
    enum token_type type;
    struct slice text;
};

enum { COMMENT_DEPTH_MAX = 20, SPEC_MAX = 1024 /* octets of an address before it is judged */ };

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* A control other than white space; it has no place in any token. */
static bool is_control(char c)
{
    return ((unsigned char)c < ' ' && !is_space(c)) || c == 0x7f;
}

static bool is_atom(char c)
{
    return !is_space(c) && !is_control(c) && strchr("()<>[]:;@\\,.\"", c) == NULL;
}

/* Octets of the comment at the front; 0: it does not end, or nests too deep. */
static size_t comment_len(struct slice s)
{
    size_t depth = 0;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        if (is_control(c))
            return 0;
        if (c == '\\')
            i++;
        else if (c == '(' && ++depth > COMMENT_DEPTH_MAX)
            return 0;
        else if (c == ')' && --depth == 0)
            return i + 1;
    }
    return 0;
}

/* Comments and white space. False: a comment that does not end. */
static bool skip_cfws(struct slice *rest)
{
    while (rest->len > 0 && (is_space(rest->ptr[0]) || rest->ptr[0] == '(')) {
        size_t len = rest->ptr[0] == '(' ? comment_len(*rest) : 1;
        if (len == 0)
            return false;
        *rest = slice_skip(*rest, len);
    }
    return true;
}

/* Octets up to and with the closing sign; 0: it is not there. */
static size_t closed_len(struct slice s, char close)
{
    for (size_t i = 1; i < s.len; i++) {
        if (is_control(s.ptr[i]))
            return 0;
        if (s.ptr[i] == '\\')
            i++;
        else if (s.ptr[i] == close)
            return i + 1;
    }
    return 0;
}

static size_t atom_len(struct slice s)
{
    size_t len = 0;
    while (len < s.len && is_atom(s.ptr[len]))
        len++;
    return len;
}

static struct token peek(struct slice *rest)
{
    struct token token = {.type = TOKEN_BAD};
    size_t len = 0;
    if (!skip_cfws(rest))
        return token;
    if (rest->len == 0)
        return (struct token){.type = TOKEN_END};
    char first = rest->ptr[0];
    if (first == '"' && (len = closed_len(*rest, '"')) > 0)
        token.type = TOKEN_QUOTED;
    else if (first == '[' && (len = closed_len(*rest, ']')) > 0)
        token.type = TOKEN_LITERAL;
    else if (first != '\0' && strchr("<>@,;:.", first) != NULL && (len = 1) > 0)
        token.type = TOKEN_SPECIAL;
    else if ((len = atom_len(*rest)) > 0)
        token.type = TOKEN_ATOM;
    token.text = slice_take(*rest, len);
    return token;
}

static bool is_special(const struct token *token, char c)
{
    return token->type == TOKEN_SPECIAL && token->text.ptr[0] == c;
}

static bool take_special(struct slice *rest, char c)
{
    struct token token = peek(rest);
    if (!is_special(&token, c))
        return false;
    *rest = slice_skip(*rest, 1);
    return true;
}

/* ---- addresses ---- */

/* An address with the white space and comments taken out. */
struct spec {
    char octets[SPEC_MAX];
    size_t len;
    bool is_too_long;
};

static void spec_put(struct spec *spec, struct slice s)
{
    if (s.len > sizeof spec->octets - spec->len) {
        spec->is_too_long = true;
        return;
    }
    memcpy(spec->octets + spec->len, s.ptr, s.len);
    spec->len += s.len;
}

/* Words and dots in turn; a quoted string loses the line breaks of its folds (RFC 5322 3.2.2). False: two words without a dot. */
static bool take_dotted(struct slice *rest, struct spec *spec)
{
    bool expects_word = true;
    for (;;) {
        struct token token = peek(rest);
        bool is_word = token.type == TOKEN_ATOM || token.type == TOKEN_QUOTED;
        if (!is_word && !is_special(&token, '.'))
            return true;
        if (is_word && !expects_word)
            return false;
        expects_word = !is_word;
        for (size_t i = 0; i < token.text.len; i++)
            if (token.text.ptr[i] != '\r' && token.text.ptr[i] != '\n')
                spec_put(spec, slice_of(token.text.ptr + i, 1));
        *rest = slice_skip(*rest, token.text.len);
    }
}

static bool take_domain(struct slice *rest, struct spec *spec)
{
    struct token token = peek(rest);
    if (token.type != TOKEN_LITERAL)
        return take_dotted(rest, spec);
    spec_put(spec, token.text);
    *rest = slice_skip(*rest, token.text.len);
    return true;
}

/* An encoded word inside an address is decoded by some programs and not by others (RFC 2047 5 forbids it). */
static bool has_encoded_word(const struct spec *spec)
{
    for (size_t i = 0; i + 1 < spec->len; i++)
        if (spec->octets[i] == '=' && spec->octets[i + 1] == '?')
            return true;
    return false;
}

static enum result take_addr_spec(struct mailbox_list *list, struct mail_address *out)
{
    struct spec spec = {.len = 0};
    if (!take_dotted(&list->rest, &spec) || !take_special(&list->rest, '@'))
        return RESULT_SYNTAX;
    spec_put(&spec, SLICE("@"));
    if (!take_domain(&list->rest, &spec) || has_encoded_word(&spec))
        return RESULT_SYNTAX;
    if (spec.is_too_long)
        return RESULT_LIMIT;
    return address_parse(slice_of(spec.octets, spec.len), list->allow_utf8 ? ADDRESS_ALLOW_UTF8 : 0, out);
}

/* obs-route: "@a,@b:" before the address means nothing (RFC 5322 4.4). */
static bool skip_route(struct slice *rest)
{
    struct spec ignored = {.len = 0};
    while (take_special(rest, ',') || take_special(rest, '@')) {
        struct token token = peek(rest);
        if (!is_special(&token, ',') && !is_special(&token, '@') && !take_domain(rest, &ignored))
            return false;
    }
    return take_special(rest, ':');
}

static enum result take_angle_addr(struct mailbox_list *list, struct mail_address *out)
{
    if (!take_special(&list->rest, '<'))
        return RESULT_SYNTAX;
    struct token token = peek(&list->rest);
    if ((is_special(&token, '@') || is_special(&token, ',')) && !skip_route(&list->rest))
        return RESULT_SYNTAX;
    enum result result = take_addr_spec(list, out);
    return result == RESULT_OK && !take_special(&list->rest, '>') ? RESULT_SYNTAX : result;
}

/* What ends the run of words and dots at the front: it tells a name from an address. */
static char sign_after_words(struct slice rest, size_t *nwords)
{
    for (*nwords = 0;; (*nwords)++) {
        struct token token = peek(&rest);
        if (token.type == TOKEN_END)
            return '\0';
        if (token.type == TOKEN_BAD || token.type == TOKEN_LITERAL)
            return '?';
        if (token.type == TOKEN_SPECIAL && token.text.ptr[0] != '.')
            return token.text.ptr[0];
        rest = slice_skip(rest, token.text.len);
    }
}

static void skip_words(struct slice *rest, size_t nwords)
{
    for (size_t i = 0; i < nwords; i++) {
        struct token token = peek(rest);
        *rest = slice_skip(*rest, token.text.len);
    }
}

/* Behind an address: the end, a comma, or the end of a group. */
static bool item_has_ended(struct mailbox_list *list)
{
    struct token token = peek(&list->rest);
    return token.type == TOKEN_END ? !list->is_in_group : is_special(&token, ',') || (list->is_in_group && is_special(&token, ';'));
}

enum result mailbox_list_next(struct mailbox_list *list, struct mail_address *out)
{
    *out = (struct mail_address){0};
    for (;;) {
        size_t nwords;
        enum result result;
        char sign = sign_after_words(list->rest, &nwords);
        if (sign == '@' || sign == '<') {
            if (sign == '<')
                skip_words(&list->rest, nwords);
            result = sign == '<' ? take_angle_addr(list, out) : take_addr_spec(list, out);
            return result == RESULT_OK && !item_has_ended(list) ? RESULT_SYNTAX : result;
        }
        if (sign == '\0')
            return nwords == 0 && !list->is_in_group ? RESULT_NOT_FOUND : RESULT_SYNTAX;
        if (sign == ':' ? nwords == 0 || list->is_in_group : nwords > 0 || (sign != ',' && (sign != ';' || !list->is_in_group)))
            return RESULT_SYNTAX;
        if (sign != ',')
            list->is_in_group = sign == ':';
        skip_words(&list->rest, nwords + 1);
    }
}
