/* Resource data of DNS answers. The first octet says how long the first record is; the rest of the input are records like it. What is accepted is a host's name, and
 * the list of MX hosts stays sorted, bounded and without doubles. */
#include "net/dns_record.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool is_true)
{
    if (!is_true)
        abort();
}

static void check_name(const char *name)
{
    char again[DNS_NAME_TEXT];
    require(strlen(name) <= 253);
    if (name[0]) {
        require(dns_name_from_text(slice_from_cstr(name), again) == RESULT_OK);
        require(strcmp(name, again) == 0);
    }
}

static void check_list(const struct dns_mx_list *list)
{
    require(list->count <= DNS_MX_MAX);
    for (size_t i = 0; i < list->count; i++) {
        check_name(list->hosts[i].name);
        require(list->hosts[i].name[0] != '\0');
        require(i == 0 || list->hosts[i - 1].preference <= list->hosts[i].preference);
        for (size_t k = 0; k < i; k++)
            require(strcmp(list->hosts[i].name, list->hosts[k].name) != 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice input = slice_of(data, size);
    struct dns_mx_list list = {0};
    char name[DNS_NAME_TEXT];
    uint32_t lot = 1;
    while (input.len > 0) {
        size_t len = (unsigned char)input.ptr[0];
        struct slice record = slice_take(slice_skip(input, 1), len);
        input = slice_skip(input, 1 + len);
        dns_mx_list_add(&list, record, lot = lot * 1664525u + 1013904223u);
        if (dns_name_from_wire(record, name) == RESULT_OK)
            check_name(name);
        if (dns_name_from_text(record, name) == RESULT_OK)
            check_name(name);
        char *text = malloc(record.len + 1);
        size_t text_len = 0;
        if (text && dns_text_join(record, text, &text_len) == RESULT_OK)
            require(text_len <= record.len);
        free(text);
    }
    check_list(&list);
    return 0;
}
