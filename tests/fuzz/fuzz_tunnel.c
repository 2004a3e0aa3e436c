/* What proxies say. The first octet chooses the protocol, whether there is a login, and how the rest is cut; the rest is the proxy's, and, where the second bit is set, its first line is the
 * relay's name and the password. However it is cut the end is the same, and nothing is taken behind it. */
#include "base/utf8.h"
#include "net/tunnel.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { IS_SOCKS = 1, HAS_NAME = 2, HAS_LOGIN = 4 };

static void require(bool is_true)
{
    if (!is_true)
        abort();
}

static size_t feed_all(struct tunnel *tunnel, struct slice in, size_t step)
{
    size_t used = 0, said = 0;
    while (used < in.len && tunnel_state(tunnel) == TUNNEL_TALKING) {
        struct slice piece = slice_take(slice_skip(in, used), step);
        size_t n = tunnel_feed(tunnel, piece);
        require(n <= piece.len && (n == piece.len || tunnel_state(tunnel) != TUNNEL_TALKING));
        used += n;
        said += tunnel_output(tunnel).len;
        require(said <= 2048);
        tunnel_sent(tunnel, tunnel_output(tunnel).len);
    }
    require(used <= TUNNEL_ANSWER_MAX);
    require(tunnel_state(tunnel) == TUNNEL_TALKING || tunnel_feed(tunnel, in) == 0);
    return used;
}

static void check_words(const struct tunnel *tunnel)
{
    struct slice words = slice_from_cstr(tunnel_words(tunnel));
    require((words.len > 0) == (tunnel_state(tunnel) == TUNNEL_REFUSED));
    while (words.len > 0) {
        uint32_t character;
        size_t n = utf8_next(words, &character);
        require(n > 0 && !utf8_is_control(character));
        words = slice_skip(words, n);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct slice in = slice_of(data + 1, size - 1), name = {0};
    struct tunnel_config config = {.via = data[0] & IS_SOCKS ? PATH_SOCKS5 : PATH_HTTP_CONNECT, .host = SLICE("relay.example"), .port = 465};
    struct tunnel *whole, *cut;
    if (data[0] & HAS_LOGIN)
        config.user = config.password = SLICE("alice");
    if ((data[0] & HAS_NAME) && slice_cut(in, '\n', &name, &in)) {
        config.host = name;
        config.password = name;
    }
    if (tunnel_new(&whole, &config) != RESULT_OK)
        return 0;
    require(tunnel_new(&cut, &config) == RESULT_OK);
    size_t used = feed_all(whole, in, SIZE_MAX), cut_used = feed_all(cut, in, 1 + (data[0] >> 3));
    require(tunnel_state(whole) == tunnel_state(cut) && strcmp(tunnel_words(whole), tunnel_words(cut)) == 0);
    require(used == cut_used || tunnel_state(whole) == TUNNEL_REFUSED);
    check_words(whole);
    tunnel_free(&whole);
    tunnel_free(&cut);
    return 0;
}
