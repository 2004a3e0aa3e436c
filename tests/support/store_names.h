/* Transactions with a name, for tests of the store: calls that wait for their answer, of bob's, who writes to two recipients. */
#ifndef POSTERN_TESTS_SUPPORT_STORE_NAMES_H
#define POSTERN_TESTS_SUPPORT_STORE_NAMES_H

#include "support/store_fixture.h"

/* Octets of the header as it came; of a field more that is stored; of the longest body. */
enum { NAMES_HEADER = 20, NAMES_ADDED = 7, NAMES_BODY = 200000 };
#define NAMES_CHUNKS "SELECT (SELECT count(*) FROM body) + (SELECT count(*) FROM chunk)"
#define NAMES_ROWS "SELECT (SELECT count(*) FROM checkpoint) + (SELECT count(*) FROM checkpoint_recipient)"

struct names_claimed {
    bool is_done;
    enum result result;
    uint64_t message, came_octets;
    uint32_t generation;
    size_t nrcpt;
    struct store_half half;
    char reply[64], first[64]; /* of the first recipient: its address */
};
struct names_resumed {
    bool is_done;
    enum result result;
    struct store_intake *intake;
};

struct store_claim names_claim_by(const char *device, const char *helo, const char *transid);
/* Without a token, from "laptop". */
struct store_claim names_plain(const char *transid);
struct names_claimed names_claim(struct world *w, struct store_claim c);
struct store_naming names_naming(struct store_claim c, uint32_t generation);
struct store_intake *names_begin(struct world *w, uint64_t id, struct store_naming naming);
/* The header is whole. */
void names_note(struct store_intake *intake, bool has_lines);
/* What is stored: lines of 50 octets behind the header, none of which ends where a chunk does. */
const char *names_octets(void);
void names_append(struct store_intake *intake, size_t from, size_t to);
enum result names_commit(struct world *w, struct store_intake *intake);
/* Opens a database of NAMES_SMALL octets at most; and whether it has no room for new mail, to be asked when the writer is at rest. */
enum { NAMES_SMALL = 2 * 1024 * 1024 };
void names_open_small(struct world *w);
bool names_is_full(struct world *w);
/* Without waiting. */
void names_send_commit(struct store_intake *intake, struct world_done *d);
struct names_resumed names_resume(struct world *w, const struct names_claimed *c, struct store_claim by);
/* Claimed and resumed. */
struct store_intake *names_go_on(struct world *w, const char *transid);
/* A half of so many stored octets. */
void names_leave_half(struct world *w, uint64_t id, struct store_naming naming, size_t size, bool has_lines);
/* Of the sender's octets, when so many are stored. */
uint64_t names_came(uint64_t stored);
void names_assert_body(struct world *w, uint64_t id, size_t len);
/* Waits until the writer has done all before. */
void names_settle(struct world *w);
void names_add_account(struct world *w, const char *name);
/* Bob's; most: as store_device_add. */
void names_add_device(struct world *w, const char *id, uint32_t most);
void names_enrol_device(struct world *w, const char *id, uint32_t most, int64_t served_ms);

/* A message that is whole at once, under a name. */
void names_put_small(struct world *w, uint64_t id, struct store_claim by);
void names_remove_device(struct world *w, const char *id);

#endif
