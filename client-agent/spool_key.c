#include "spool_key.h"

#include "config/private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct search {
    struct spool_key *key;
    bool is_sealed;
    char name[2 * SEAL_SALT + 1]; /* of the database, in the secret service */
    char program[4096];
    char *text; /* 64 digits and a NUL, in secret memory */
    char *why;
    size_t why_size;
};

static enum result say(struct search *search, enum result result, const char *words)
{
    snprintf(search->why, search->why_size, "%s", words);
    return result;
}

/* ---- the file --------------------------------------------------------------------------------------------------- */

static enum result read_file(struct search *search, const char *path)
{
    struct private_error error;
    struct buffer content = BUFFER_SECRET(SPOOL_KEY_TEXT + 2);
    enum result result = private_read(path, &content, &error);
    struct slice text = slice_trim(buffer_slice(&content));
    if (text.len > 0 && text.ptr[text.len - 1] == '\n')
        text.len--;
    if (result == RESULT_NOT_FOUND) {
        snprintf(search->why, search->why_size, "the spool's key is expected in %s, and there is no such file", path);
    } else if (result != RESULT_OK && result != RESULT_LIMIT) {
        snprintf(search->why, search->why_size, "%s", error.text);
    } else if (!slice_to_cstr(text, search->text, SPOOL_KEY_TEXT + 1) || text.len != SPOOL_KEY_TEXT) {
        snprintf(search->why, search->why_size, "%s does not hold a key, 64 hex digits", path);
        result = RESULT_DENIED;
    } else {
        snprintf(search->key->where, sizeof search->key->where, "the file %s", path);
    }
    buffer_wipe_free(&content);
    return result;
}

static void draw(struct search *search)
{
    uint8_t *key = (uint8_t *)search->text;
    crypto_random(key, CRYPTO_KEY); /* in secret memory; its hex is written from the end, over itself */
    for (size_t i = CRYPTO_KEY; i-- > 0;) {
        static const char digits[] = "0123456789abcdef";
        uint8_t octet = key[i];
        search->text[2 * i + 1] = digits[octet & 15];
        search->text[2 * i] = digits[octet >> 4];
    }
    search->text[SPOOL_KEY_TEXT] = '\0';
}

/* Durable when this returns, before the first row is sealed. Another agent with the same key_file may have been quicker: then its key is ours. */
static enum result make_file(struct search *search, const char *path)
{
    struct private_error error;
    char *line = crypto_secret_alloc(SPOOL_KEY_TEXT + 2);
    enum result result = line ? private_make_folder(search->key->dirs->keys, &error) : RESULT_MEMORY;
    if (result == RESULT_OK) {
        draw(search);
        memcpy(line, search->text, SPOOL_KEY_TEXT);
        line[SPOOL_KEY_TEXT] = '\n';
        result = private_write_new(path, slice_of(line, SPOOL_KEY_TEXT + 1), &error);
    }
    crypto_secret_free((void **)&line);
    if (result != RESULT_OK && result != RESULT_EXISTS)
        return say(search, result, result == RESULT_MEMORY ? "out of memory" : error.text);
    return read_file(search, path);
}

/* ---- the secret service ----------------------------------------------------------------------------------------- */

/* Of a new spool alone: an encrypted one opens with the key that it has. */
static const char *way_out(const struct search *search)
{
    return search->is_sealed ? "" : ", or set [spool] key = file";
}

/* Not the same as no answer: a key may be there, and another must not be made in its place. */
static enum result say_not_asked(struct search *search, enum result result)
{
    const char *cause = strerror(errno);
    if (result == RESULT_MEMORY)
        return say(search, result, "the desktop's secret service could not be asked, for want of memory, processes or open files: start again when there is more; the mail is not lost");
    snprintf(search->why, search->why_size, "the desktop's secret service could not be asked, because %s can't be started (%s): mend that and start again%s; the mail is not lost",
             search->program[0] ? search->program : "the agent's own program", cause, way_out(search));
    return RESULT_CANCELLED;
}

static enum result say_locked(struct search *search)
{
    snprintf(search->why, search->why_size, "the desktop's secret service is locked, or nobody answered its question: unlock it (on most desktops by logging in) and start again%s; the mail is not lost",
             way_out(search));
    return RESULT_CANCELLED;
}

static enum result read_secret(struct search *search)
{
    enum result result = secret_child_get(search->program, search->name, search->text);
    switch (result) {
    case RESULT_OK: snprintf(search->key->where, sizeof search->key->where, "the desktop's secret service"); return result;
    case RESULT_MEMORY:
    case RESULT_DENIED: return say_not_asked(search, result);
    case RESULT_CANCELLED: return say_locked(search);
    case RESULT_NOT_FOUND: return say(search, result, "the desktop's secret service answers, and has no key for this spool");
    case RESULT_LIMIT: return say(search, result, "no secret service answers here in time");
    default: return say(search, RESULT_IO, "no secret service answers here");
    }
}

static enum result put_secret(struct search *search, const char *made)
{
    enum result result = secret_child_put(search->program, search->name, made);
    if (result == RESULT_MEMORY || result == RESULT_DENIED)
        return say_not_asked(search, result);
    if (result == RESULT_CANCELLED)
        return say(search, result, "the desktop's secret service is locked, and so takes no key: unlock it and start again, or set [spool] key = file");
    if (result == RESULT_OK)
        result = read_secret(search);
    bool is_same = result == RESULT_OK && crypto_equal(slice_of(made, SPOOL_KEY_TEXT), slice_of(search->text, SPOOL_KEY_TEXT));
    if (is_same || result == RESULT_MEMORY || result == RESULT_CANCELLED)
        return result;
    search->key->where[0] = '\0';
    return say(search, RESULT_IO, "the desktop's secret service takes no key; set [spool] key = file");
}

static enum result make_secret(struct search *search)
{
    char *made = crypto_secret_alloc(SPOOL_KEY_TEXT + 1);
    if (!made)
        return say(search, RESULT_MEMORY, "out of memory");
    draw(search);
    memcpy(made, search->text, SPOOL_KEY_TEXT + 1);
    enum result result = put_secret(search, made);
    crypto_secret_free((void **)&made);
    return result;
}

/* ---- both ------------------------------------------------------------------------------------------------------- */

/* Where none answers, or not in time, it may be with one that does not answer yet, and who waits for the session finds it. */
static enum result neither(struct search *search, const char *path, enum result asked)
{
    const char *database = search->key->dirs->database;
    if (asked == RESULT_NOT_FOUND) {
        snprintf(search->why, search->why_size, "the spool's key is neither in %s nor in the desktop's secret service (which answers, and does not have it)", path);
        return RESULT_NOT_FOUND;
    }
    snprintf(search->why, search->why_size, "the spool's key is not in %s, and no secret service answers here that may have it: start one (on most desktops by logging in) or put that file back, and start again; the mail is not lost. "
             "If the key is lost for good, so is that mail: move %s* away, and the next start begins anew", path, database);
    return RESULT_CANCELLED;
}

/* The service answers, and has no key for this spool; or it is not there, or keeps silent, which for a new spool is the same. */
static enum result search_further(struct search *search, const char *path, enum result asked)
{
    bool must_be = search->key->values->spool_key == SPOOL_KEY_SECRET;
    if (asked != RESULT_NOT_FOUND && must_be) {
        snprintf(search->why, search->why_size, "no secret service answers here, and [spool] key = secret-service wants one: start again in the desktop's session%s; the mail is not lost", way_out(search));
        return RESULT_CANCELLED;
    }
    if (search->is_sealed)
        return must_be ? asked : neither(search, path, asked);
    if (asked == RESULT_NOT_FOUND) {
        enum result made = make_secret(search);
        if (made != RESULT_IO || must_be)
            return made == RESULT_IO ? RESULT_CANCELLED : made;
    }
    return make_file(search, path);
}

static enum result search_all(struct search *search)
{
    const struct settings_values *values = search->key->values;
    const char *path = values->spool_key_file.ptr;
    enum result file = values->spool_key == SPOOL_KEY_SECRET ? RESULT_NOT_FOUND : read_file(search, path);
    if (file != RESULT_NOT_FOUND || (values->spool_key == SPOOL_KEY_FILE && search->is_sealed))
        return file;
    if (values->spool_key == SPOOL_KEY_FILE)
        return make_file(search, path);
    enum result asked = read_secret(search);
    bool is_none = asked == RESULT_NOT_FOUND || asked == RESULT_IO || asked == RESULT_LIMIT;
    return is_none ? search_further(search, path, asked) : asked;
}

static enum result find_key(void *context, const uint8_t id[static SEAL_SALT], bool is_sealed, uint8_t key[static CRYPTO_KEY], char *why, size_t why_size)
{
    struct search search = {.key = context, .is_sealed = is_sealed, .why = why, .why_size = why_size};
    size_t size = sizeof search.program;
    if (uv_exepath(search.program, &size) != 0)
        search.program[0] = '\0';
    crypto_hex(slice_of(id, SEAL_SALT), search.name, sizeof search.name);
    search.key->where[0] = '\0';
    search.text = crypto_secret_alloc(SPOOL_KEY_TEXT + 1);
    if (!search.text)
        return say(&search, RESULT_MEMORY, "out of memory");
    enum result result = search_all(&search);
    if (result == RESULT_OK && !crypto_hex_decode(slice_of(search.text, SPOOL_KEY_TEXT), key, CRYPTO_KEY))
        result = RESULT_DENIED;
    if (result == RESULT_DENIED && search.key->where[0])
        snprintf(why, why_size, "what is in %s is no key", search.key->where);
    if (result == RESULT_OK)
        snprintf(why, why_size, "%s", search.key->where);
    crypto_secret_free((void **)&search.text);
    return result;
}

void spool_key_prepare(struct spool_key *key, const struct dirs *dirs, const struct settings_values *values, struct store_seal *seal)
{
    *key = (struct spool_key){.dirs = dirs, .values = values};
    *seal = (struct store_seal){
        .is_wanted = values->encrypts_spool,
        .find_key = find_key,
        .context = key,
        .key_file = values->spool_key == SPOOL_KEY_SECRET ? NULL : values->spool_key_file.ptr,
    };
}
