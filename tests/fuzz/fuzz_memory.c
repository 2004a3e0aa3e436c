/* The memory's text, as it may come out of a damaged store: never an error; and what was read is written and read again as it is, within all limits. */
#include "path/memory.h"

#include <stdlib.h>

#define WALL INT64_C(1700000000000)
#define HOST SLICE("relay.example")

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

static struct memory *read_text(struct slice text)
{
    struct memory *memory = memory_new();
    check(memory && memory_read(memory, text, HOST, WALL) == RESULT_OK && !memory_is_dirty(memory));
    return memory;
}

static void use(struct memory *memory)
{
    const struct memory_key key = {{1}};
    const struct path_address *addresses;
    size_t n;
    check(memory_addresses(memory, &addresses) <= MEMORY_ADDRESSES_MAX);
    const struct memory_path *paths = memory_paths(memory, &key, WALL, &n);
    check(n <= MEMORY_PATHS_MAX);
    for (size_t i = 0; i < n; i++)
        check(paths[i].carried_at_ms <= WALL && paths[i].demoted_at_ms <= WALL && paths[i].handshake_ms >= 0);
    const struct path path = {.address = {.family = 4}, .port = 465};
    check(memory_carried(memory, &key, &path, UINT64_MAX, WALL) == RESULT_OK);
    check(memory_died(memory, &key, &path, WALL) == RESULT_OK && memory_is_demoted(memory, &key, &path, WALL));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buffer one = BUFFER(MEMORY_TEXT_MAX), two = BUFFER(MEMORY_TEXT_MAX);
    struct memory *memory = read_text(slice_of(data, size));
    check(memory_write(memory, HOST, &one) == RESULT_OK);
    struct memory *again = read_text(buffer_slice(&one));
    check(memory_write(again, HOST, &two) == RESULT_OK && slice_equal(buffer_slice(&one), buffer_slice(&two)));
    use(memory);
    memory_free(&memory);
    memory_free(&again);
    buffer_free(&one);
    buffer_free(&two);
    return 0;
}
