/* A driver for the server core that accepts or refuses by what it reads, notes everything down, and checks at each step the invariants of
 * smtp/server.h that hold for any client. For property tests, fuzz targets and allocation failures.
 *
 * Its answers depend on the octets of addresses and passwords alone, so two runs over the same octets must note the same. */
#ifndef POSTERN_TESTS_SUPPORT_SMTP_SINK_H
#define POSTERN_TESTS_SUPPORT_SMTP_SINK_H

#include "base/buffer.h"
#include "smtp/server.h"

/* What the sink's relay has of a transaction, by its name alone: nothing of some, of others octets, recipients or both. */
struct smtp_sink_known {
    bool is_known;
    uint64_t held_octets;
    size_t nrcpt;
};
struct smtp_sink_known smtp_sink_look(struct slice transid);

struct smtp_sink {
    struct smtp_server *server;
    struct buffer events;   /* a line for each, body octets joined */
    struct buffer output;
    struct buffer messages; /* those accepted: "octets:" and the body of each */
    struct buffer body;
    size_t nmessages;
    int64_t now_ms;
    bool refuses;           /* some things are refused; otherwise every answer is positive */
    bool has_transaction, has_body, is_closed, was_body;
    struct smtp_sink_known known; /* of the transaction */
    uint64_t size_max_octets;
};

/* False: out of memory. The sink's own memory is not counted by support/oom.h if that is linked in and suspended by the caller. */
bool smtp_sink_open(struct smtp_sink *sink, const struct smtp_server_config *config, bool is_tls);
/* Feeds one piece and answers whatever it brings; true when all of it was taken. */
bool smtp_sink_feed(struct smtp_sink *sink, struct slice piece);
/* Takes events and output, and answers, after a call of the core from outside. */
void smtp_sink_pump(struct smtp_sink *sink);
void smtp_sink_close(struct smtp_sink *sink);

/* A configuration that offers everything and has low limits. */
struct smtp_server_config smtp_sink_config(void);

/* Randomness that a seed repeats. */
struct smtp_dice {
    uint64_t state;
};
uint32_t smtp_dice_roll(struct smtp_dice *dice, uint32_t bound); /* 0 .. bound-1 */
/* A client's session, more or less sane. */
void smtp_dice_session(struct smtp_dice *dice, struct buffer *out);

#endif
