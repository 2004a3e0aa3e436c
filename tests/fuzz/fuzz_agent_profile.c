/* The profile out of the store: bounded, and what was read of it is written and read again as the same. */
#include "profile.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct profile profile, again;
    struct finder_way ways[FINDER_WAYS_MAX];
    struct smtp_peer peer, peer_again;
    struct buffer text = BUFFER_SECRET(PROFILE_TEXT_MAX);
    profile_read(&profile, slice_of(data, size), SLICE("h"), SLICE("u"));
    check(profile.name_len <= sizeof profile.name && profile.ways_len <= sizeof profile.ways && profile.device_len <= sizeof profile.device);
    check(profile_ways(&profile, ways, FINDER_WAYS_MAX) <= FINDER_WAYS_MAX);
    check(profile_write(&profile, SLICE("h"), SLICE("u"), &text) == RESULT_OK);
    profile_read(&again, buffer_slice(&text), SLICE("h"), SLICE("u"));
    check(profile_peer(&profile, &peer) == profile_peer(&again, &peer_again));
    check(slice_equal(profile_device(&profile), profile_device(&again)) && slice_equal(profile_token(&profile), profile_token(&again)));
    check(!(profile.peer.capabilities & SMTP_CAP_XOUTCOME) == (profile.epoch_len == 0) && profile.epoch_len <= sizeof profile.epoch);
    if (profile.has_peer)
        check(slice_equal(peer.epoch, peer_again.epoch) && peer.outcome_s == peer_again.outcome_s);
    if (profile.has_peer)
        check(slice_equal(peer.name, peer_again.name) && slice_equal(peer.ways, peer_again.ways) && peer.capabilities == peer_again.capabilities);
    buffer_wipe_free(&text);
    return 0;
}
