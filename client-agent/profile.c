#include "profile.h"

#include "crypto/crypto.h"
#include "path/ways.h"

#include <inttypes.h>
#include <string.h>

static const char HEADER[] = "postern-profile 1";

/* ---- what EHLO said --------------------------------------------------------------------------------------------- */

static size_t keep(char *out, size_t size, struct slice text)
{
    size_t len = text.len < size ? text.len : size;
    if (len > 0)
        memcpy(out, text.ptr, len);
    return len;
}

static bool is_same_peer(const struct profile *profile, const struct smtp_peer *peer)
{
    struct smtp_peer old;
    return profile_peer(profile, &old) && old.capabilities == peer->capabilities && old.mechanisms == peer->mechanisms && old.size_max_octets == peer->size_max_octets &&
           old.nrcpt_max == peer->nrcpt_max && old.transactions_max == peer->transactions_max && old.outcome_s == peer->outcome_s &&
           slice_equal(old.name, peer->name) && slice_equal(old.epoch, peer->epoch) && slice_equal(old.ways, peer->ways);
}

bool profile_learn(struct profile *profile, const struct smtp_peer *peer)
{
    if (is_same_peer(profile, peer))
        return false;
    profile->has_peer = true;
    profile->name_len = keep(profile->name, sizeof profile->name, peer->name);
    profile->epoch_len = keep(profile->epoch, sizeof profile->epoch, peer->epoch);
    profile->ways_len = keep(profile->ways, sizeof profile->ways, peer->ways);
    profile->peer = *peer;
    profile->peer.name = profile->peer.epoch = profile->peer.ways = (struct slice){0};
    return true;
}

bool profile_peer(const struct profile *profile, struct smtp_peer *out)
{
    *out = profile->peer;
    out->name = slice_of(profile->name, profile->name_len);
    out->epoch = slice_of(profile->epoch, profile->epoch_len);
    out->ways = slice_of(profile->ways, profile->ways_len);
    return profile->has_peer;
}

bool profile_is_ours(const struct profile *profile)
{
    return profile->has_peer && (profile->peer.capabilities & (SMTP_CAP_PIPECONNECT | SMTP_CAP_XDEVICE | SMTP_CAP_XWAYS | SMTP_CAP_XOUTCOME));
}

/* ---- the device ------------------------------------------------------------------------------------------------- */

static bool is_device_name(struct slice device)
{
    for (size_t i = 0; i < device.len; i++)
        if (device.ptr[i] <= ' ' || device.ptr[i] >= 127)
            return false;
    return device.len > 0 && device.len <= SMTP_DEVICE_ID_MAX;
}

bool profile_keep_device(struct profile *profile, struct slice device, struct slice token)
{
    if (!is_device_name(device) || token.len != SASL_TOKEN)
        return false;
    profile->device_len = keep(profile->device, sizeof profile->device, device);
    memcpy(profile->token, token.ptr, SASL_TOKEN);
    return true;
}

struct slice profile_device(const struct profile *profile)
{
    return slice_of(profile->device, profile->device_len);
}

struct slice profile_token(const struct profile *profile)
{
    return slice_of(profile->token, profile->device_len > 0 ? SASL_TOKEN : 0);
}

/* ---- forgetting ------------------------------------------------------------------------------------------------- */

void profile_forget_peer(struct profile *profile)
{
    profile->has_peer = false;
    profile->peer = (struct smtp_peer){0};
    profile->name_len = profile->epoch_len = profile->ways_len = 0;
}

void profile_forget_device(struct profile *profile)
{
    crypto_wipe(profile->token, sizeof profile->token);
    profile->device_len = 0;
}

void profile_forget(struct profile *profile)
{
    profile_forget_peer(profile);
    profile_forget_device(profile);
}

/* ::ffff:0:0/96: an IPv4 address in other clothes, which no relay has reason to write. */
static bool is_mapped_v4(const uint8_t *octets)
{
    static const uint8_t prefix[12] = {[10] = 0xff, [11] = 0xff};
    return memcmp(octets, prefix, sizeof prefix) == 0;
}

/* ---- ways ------------------------------------------------------------------------------------------------------- */

/* A relay may name places that are not its own, but this machine and groups of machines are nobody's place: loopback, unspecified, link-local, multicast, broadcast. */
static bool is_anybodys(const struct path_address *address)
{
    const uint8_t *o = address->octets;
    static const uint8_t zeros[15];
    if (address->family == 4)
        return o[0] == 0 || o[0] == 127 || o[0] >= 224 || (o[0] == 169 && o[1] == 254);
    return address->family == 6 && ((memcmp(o, zeros, 15) == 0 && o[15] <= 1) || o[0] == 0xff || (o[0] == 0xfe && (o[1] & 0xc0) == 0x80) || is_mapped_v4(o));
}

size_t profile_ways(const struct profile *profile, struct finder_way *out, size_t max)
{
    size_t n = path_ways_parse(slice_of(profile->ways, profile->ways_len), out, max), kept = 0;
    for (size_t i = 0; i < n; i++)
        if (!is_anybodys(&out[i].address))
            out[kept++] = out[i];
    return kept;
}

/* ---- as text ---------------------------------------------------------------------------------------------------- */

/* Not by a format: what a peer said may hold any octet but a line's end. */
static enum result write_line(struct slice before, struct slice text, struct buffer *out)
{
    enum result result = buffer_append(out, before);
    if (result == RESULT_OK)
        result = buffer_append(out, text);
    return result == RESULT_OK ? buffer_append_cstr(out, "\n") : result;
}

static enum result write_peer(const struct profile *profile, struct buffer *out)
{
    struct smtp_peer peer;
    if (!profile_peer(profile, &peer))
        return RESULT_OK;
    enum result result = buffer_printf(out, "peer %x %x %" PRIu64 " %" PRIu64 " %" PRIu64, peer.capabilities, peer.mechanisms, peer.size_max_octets, peer.nrcpt_max,
                                       peer.transactions_max);
    if (result == RESULT_OK)
        result = write_line(SLICE(" "), peer.name, out);
    if (result == RESULT_OK && peer.epoch.len > 0)
        result = buffer_printf(out, "outcome %" PRIu64, peer.outcome_s);
    if (result == RESULT_OK && peer.epoch.len > 0)
        result = write_line(SLICE(" "), peer.epoch, out);
    return result == RESULT_OK ? write_line(SLICE("ways "), peer.ways, out) : result;
}

static enum result write_device(const struct profile *profile, struct buffer *out)
{
    if (profile->device_len == 0)
        return RESULT_OK;
    enum result result = buffer_printf(out, "device %.*s ", SLICE_ARG(profile_device(profile)));
    if (result == RESULT_OK)
        result = crypto_base64_encode(profile_token(profile), out);
    return result == RESULT_OK ? buffer_append_cstr(out, "\n") : result;
}

enum result profile_write(const struct profile *profile, struct slice relay_host, struct slice user, struct buffer *out)
{
    enum result result = buffer_printf(out, "%s\nhost %.*s\nuser %.*s\n", HEADER, SLICE_ARG(relay_host), SLICE_ARG(user));
    if (result == RESULT_OK)
        result = write_peer(profile, out);
    return result == RESULT_OK ? write_device(profile, out) : result;
}

static bool take_number(struct slice *rest, uint64_t max, uint64_t *out)
{
    struct slice word;
    slice_cut(*rest, ' ', &word, rest);
    return slice_to_u64(word, max, out);
}

static bool take_set(struct slice *rest, unsigned *out)
{
    struct slice word;
    slice_cut(*rest, ' ', &word, rest);
    *out = 0;
    for (size_t i = 0; i < word.len; i++) {
        const char *digit = memchr("0123456789abcdef", word.ptr[i], 16);
        if (!digit)
            return false;
        *out = *out << 4 | (unsigned)(digit - "0123456789abcdef");
    }
    return word.len > 0 && word.len <= 8;
}

static void read_peer(struct profile *profile, struct slice rest)
{
    struct smtp_peer peer = {0};
    if (!take_set(&rest, &peer.capabilities) || !take_set(&rest, &peer.mechanisms) || !take_number(&rest, UINT64_MAX, &peer.size_max_octets) ||
        !take_number(&rest, UINT64_MAX, &peer.nrcpt_max) || !take_number(&rest, UINT64_MAX, &peer.transactions_max))
        return;
    peer.name = rest;
    profile_learn(profile, &peer);
}

static void read_outcome(struct profile *profile, struct slice rest)
{
    if (take_number(&rest, UINT64_MAX, &profile->peer.outcome_s) && slice_find(rest, ' ') < 0)
        profile->epoch_len = keep(profile->epoch, sizeof profile->epoch, rest);
}

static void read_device(struct profile *profile, struct slice rest)
{
    struct slice device, encoded;
    uint8_t token[SASL_TOKEN];
    size_t len;
    slice_cut(rest, ' ', &device, &encoded);
    if (crypto_base64_decode_to(encoded, token, sizeof token, &len) && !profile_keep_device(profile, device, slice_of(token, len)))
        profile->device_len = 0;
    crypto_wipe(token, sizeof token);
}

static void read_line(struct profile *profile, struct slice line)
{
    struct slice what, rest;
    slice_cut(line, ' ', &what, &rest);
    if (slice_equal(what, SLICE("peer")))
        read_peer(profile, rest);
    else if (slice_equal(what, SLICE("outcome")))
        read_outcome(profile, rest);
    else if (slice_equal(what, SLICE("ways")))
        profile->ways_len = keep(profile->ways, sizeof profile->ways, rest);
    else if (slice_equal(what, SLICE("device")))
        read_device(profile, rest);
}

/* XOUTCOME is what it says or nothing, as in EHLO (smtp/ehlo.h). */
static void forget_half(struct profile *profile)
{
    if (profile->epoch_len > 0 && profile->peer.capabilities & SMTP_CAP_XOUTCOME)
        return;
    profile->epoch_len = 0;
    profile->peer.outcome_s = 0;
    profile->peer.capabilities &= ~(unsigned)SMTP_CAP_XOUTCOME;
}

static bool takes_line(struct slice *text, const char *what, struct slice value)
{
    struct slice line, word, rest;
    slice_cut(*text, '\n', &line, text);
    slice_cut(line, ' ', &word, &rest);
    return slice_equal(word, slice_from_cstr(what)) && slice_equal(rest, value);
}

void profile_read(struct profile *profile, struct slice text, struct slice relay_host, struct slice user)
{
    struct slice line;
    *profile = (struct profile){0};
    slice_cut(text, '\n', &line, &text);
    if (!slice_equal(line, slice_from_cstr(HEADER)) || !takes_line(&text, "host", relay_host) || !takes_line(&text, "user", user))
        return;
    while (text.len > 0) {
        slice_cut(text, '\n', &line, &text);
        read_line(profile, line);
    }
    forget_half(profile);
}
