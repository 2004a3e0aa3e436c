#include "smtp/data.h"

#include <assert.h>
#include <string.h>

const char *smtp_data_fault_name(enum smtp_data_fault fault)
{
    switch (fault) {
    case SMTP_DATA_SOUND: return "sound";
    case SMTP_DATA_BARE_CR: return "bare-cr";
    case SMTP_DATA_BARE_LF: return "bare-lf";
    case SMTP_DATA_NUL: return "nul";
    case SMTP_DATA_LONG_LINE: return "long-line";
    }
    return "?";
}

void smtp_data_start_dotted(struct smtp_data *data, uint32_t line_max)
{
    assert(line_max > 2);
    *data = (struct smtp_data){.is_dotted = true, .text_max = line_max - 2};
}

void smtp_data_start_counted(struct smtp_data *data, uint32_t line_max, bool is_binary)
{
    assert(line_max > 2);
    *data = (struct smtp_data){.is_binary = is_binary, .text_max = line_max - 2};
}

/* Whether some octet is above 127, eight at a time. */
static bool is_8bit(struct slice s)
{
    uint64_t seen = 0, word;
    size_t i = 0;
    for (; s.len - i >= sizeof word; i += sizeof word) {
        memcpy(&word, s.ptr + i, sizeof word);
        seen |= word;
    }
    for (; i < s.len; i++)
        seen |= (uint64_t)(unsigned char)s.ptr[i];
    return (seen & UINT64_C(0x8080808080808080)) != 0;
}

static enum smtp_data_step hand_out(struct smtp_data *data, struct slice piece, struct slice *out)
{
    if (!data->has_8bit)
        data->has_8bit = is_8bit(piece);
    *out = piece;
    return piece.len > 0 ? SMTP_DATA_PIECE : SMTP_DATA_MORE;
}

/* ---- after a fault: one octet at a time towards CRLF.CRLF, leaping over the insides of lines ---- */

static enum smtp_data_place place_after(enum smtp_data_place place, char c)
{
    if (c == '\r')
        return place == SMTP_DATA_AFTER_DOT ? SMTP_DATA_AFTER_DOT_CR : SMTP_DATA_AFTER_CR;
    if (c == '\n' && place == SMTP_DATA_AFTER_CR)
        return SMTP_DATA_LINE_START;
    if (c == '.' && place == SMTP_DATA_LINE_START)
        return SMTP_DATA_AFTER_DOT;
    return SMTP_DATA_IN_LINE;
}

static enum smtp_data_step hunt(struct smtp_data *data, struct slice in, size_t *used)
{
    size_t i = 0;
    while (data->is_dotted && i < in.len) {
        if (data->place == SMTP_DATA_IN_LINE) {
            const char *cr = memchr(in.ptr + i, '\r', in.len - i);
            if (!cr)
                break;
            i = (size_t)(cr - in.ptr);
        }
        if (data->place == SMTP_DATA_AFTER_DOT_CR && in.ptr[i] == '\n') {
            *used = i + 1;
            return SMTP_DATA_END;
        }
        data->place = place_after(data->place, in.ptr[i++]);
    }
    *used = in.len;
    return SMTP_DATA_MORE;
}

/* ---- sound so far ---- */

/* The hunt begins with the octet that made the fault. */
static enum smtp_data_step fail(struct smtp_data *data, enum smtp_data_fault fault, struct slice in, size_t *used)
{
    data->fault = fault;
    return hunt(data, in, used);
}

/* What the first octet of `in` is when the scan could not pass it: a CR that waits for its LF, a dot that starts a line, or a fault. */
static enum smtp_data_step read_first(struct smtp_data *data, struct slice in, size_t *used)
{
    char c = in.ptr[0];
    *used = 1;
    if (c == '\r')
        data->place = SMTP_DATA_AFTER_CR;
    else if (c == '\n')
        return fail(data, SMTP_DATA_BARE_LF, in, used);
    else if (c == '\0')
        return fail(data, SMTP_DATA_NUL, in, used);
    else if (data->is_dotted && data->place == SMTP_DATA_LINE_START && c == '.')
        data->place = SMTP_DATA_AFTER_DOT;
    else
        return fail(data, SMTP_DATA_LONG_LINE, in, used);
    return SMTP_DATA_MORE;
}

/* How many octets at the front of `in` may be handed out as they stand: whole lines with their CRLF, and the beginning of one more. Stops before a dot that
 * starts a line, before a CR that is last or bare, a bare LF, or the octet that makes a line too long. */
static size_t scan_lines(struct smtp_data *data, struct slice in)
{
    const char *at = in.ptr, *end = in.ptr + in.len;
    while (at < end) {
        if (data->place == SMTP_DATA_LINE_START && data->is_dotted && *at == '.')
            break;
        const char *lf = memchr(at, '\n', (size_t)(end - at));
        const char *line_end = lf ? lf : end;
        const char *cr = memchr(at, '\r', (size_t)(line_end - at));
        const char *text_end = cr ? cr : line_end;
        size_t room = data->text_max - data->text_len;
        if ((size_t)(text_end - at) > room)
            text_end = at + room;
        data->text_len += (uint32_t)(text_end - at);
        if (text_end > at)
            data->place = SMTP_DATA_IN_LINE;
        at = text_end;
        if (!lf || cr != text_end || cr + 1 != lf)
            break;
        at = lf + 1;
        data->place = SMTP_DATA_LINE_START;
        data->text_len = 0;
    }
    return (size_t)(at - in.ptr);
}

static enum smtp_data_step read_text(struct smtp_data *data, struct slice in, size_t *used, struct slice *piece)
{
    size_t n = scan_lines(data, in);
    /* Only what was scanned is searched for a NUL, so that many short pieces do not cost the square of the input. With a NUL the scan has
     * gone too far, which does no harm: the next octet to be read is the fault. */
    const char *nul = n > 0 ? memchr(in.ptr, '\0', n) : NULL;
    if (nul)
        n = (size_t)(nul - in.ptr);
    if (n == 0)
        return read_first(data, in, used);
    *used = n;
    return hand_out(data, slice_take(in, n), piece);
}

/* The held CR has found its LF, or is bare. */
static enum smtp_data_step read_after_cr(struct smtp_data *data, struct slice in, size_t *used, struct slice *piece)
{
    if (in.ptr[0] != '\n')
        return fail(data, SMTP_DATA_BARE_CR, in, used);
    data->place = SMTP_DATA_LINE_START;
    data->text_len = 0;
    *used = 1;
    return hand_out(data, SLICE("\r\n"), piece);
}

/* A dot at the start of a line is dropped unless CRLF follows, which is the end (RFC 5321 4.5.2). */
static enum smtp_data_step read_after_dot(struct smtp_data *data, struct slice in, size_t *used, struct slice *piece)
{
    if (in.ptr[0] != '\r') {
        data->place = SMTP_DATA_IN_LINE;
        return read_text(data, in, used, piece);
    }
    data->place = SMTP_DATA_AFTER_DOT_CR;
    *used = 1;
    return SMTP_DATA_MORE;
}

static enum smtp_data_step read_after_dot_cr(struct smtp_data *data, struct slice in, size_t *used)
{
    if (in.ptr[0] != '\n')
        return fail(data, SMTP_DATA_BARE_CR, in, used);
    *used = 1;
    return SMTP_DATA_END;
}

enum smtp_data_step smtp_data_read(struct smtp_data *data, struct slice in, size_t *used, struct slice *piece)
{
    assert(in.len > 0);
    *piece = (struct slice){0};
    if (data->is_binary) {
        *used = in.len;
        return hand_out(data, in, piece);
    }
    if (data->fault != SMTP_DATA_SOUND)
        return hunt(data, in, used);
    switch (data->place) {
    case SMTP_DATA_LINE_START:
    case SMTP_DATA_IN_LINE: return read_text(data, in, used, piece);
    case SMTP_DATA_AFTER_CR: return read_after_cr(data, in, used, piece);
    case SMTP_DATA_AFTER_DOT: return read_after_dot(data, in, used, piece);
    case SMTP_DATA_AFTER_DOT_CR: return read_after_dot_cr(data, in, used);
    }
    return SMTP_DATA_MORE;
}

void smtp_data_finish(struct smtp_data *data)
{
    if (!data->is_dotted && data->fault == SMTP_DATA_SOUND && data->place == SMTP_DATA_AFTER_CR)
        data->fault = SMTP_DATA_BARE_CR;
}
