#include "ways_table.h"

#include "mta/console.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { LINE_MAX_OCTETS = 1024, COLUMNS_USUAL = 80, ROWS_MAX = 256 };

/* ---- one line --------------------------------------------------------------------------------------------------- */

/* "465 tls", "443 tls http/1.1", "443 tls smtp via 10.0.0.1:3128" */
static void format_way(const json_t *way, char *out, size_t size)
{
    const char *alpn = console_text(way, "alpn"), *proxy = console_text(way, "proxy");
    snprintf(out, size, "%d %s%s%s%s%s", (int)json_integer_value(json_object_get(way, "port")), console_text(way, "mode"), *alpn ? " " : "", alpn,
             *proxy ? " via " : "", proxy);
}

static void print_row(FILE *out, const json_t *way)
{
    char name[128], ms[24] = "";
    const json_t *number = json_object_get(way, "ms");
    format_way(way, name, sizeof name);
    if (json_is_integer(number))
        snprintf(ms, sizeof ms, "%lld ms", (long long)json_integer_value(number));
    fprintf(out, "  %-20s %-24s %-18s %9s  ", name, console_text(way, "address"), console_text(way, "verdict"), ms);
    console_print_text(out, console_text(way, "words"));
}

/* Counts characters, not octets: words may hold what a server said in UTF-8. */
static size_t cut(const char *text, size_t len, unsigned columns)
{
    size_t at = 0, width = 0;
    while (at < len && width < columns) {
        at++;
        while (at < len && ((unsigned char)text[at] & 0xc0) == 0x80)
            at++;
        width++;
    }
    return at;
}

static void print_line(FILE *out, const json_t *way, unsigned columns)
{
    char text[LINE_MAX_OCTETS] = "";
    FILE *memory = fmemopen(text, sizeof text - 1, "w");
    if (!memory)
        return;
    if (way)
        print_row(memory, way);
    else
        fprintf(memory, "  %-20s %-24s %-18s %9s  %s", "way", "address", "result", "time", "");
    fclose(memory);
    size_t len = strlen(text);
    while (len > 0 && text[len - 1] == ' ')
        len--;
    fprintf(out, "%.*s\n", (int)(columns > 0 ? cut(text, len, columns) : len), text);
}

size_t ways_table_print(FILE *out, const json_t *ways, unsigned columns)
{
    size_t n = json_array_size(ways);
    print_line(out, NULL, columns);
    for (size_t i = 0; i < n; i++)
        print_line(out, json_array_get(ways, i), columns);
    return n + 1;
}

/* ---- on a terminal ---------------------------------------------------------------------------------------------- */

static void terminal_size(FILE *out, unsigned *columns, unsigned *lines)
{
    struct winsize size = {0};
    if (ioctl(fileno(out), TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0)
        size = (struct winsize){.ws_col = COLUMNS_USUAL, .ws_row = ROWS_MAX};
    *columns = size.ws_col;
    *lines = size.ws_row;
}

/* The cursor to the first line of what was drawn, and all below it away (ECMA-48 CPL, ED). */
static void take_off(struct ways_table *table)
{
    if (table->nlines > 0)
        fprintf(table->out, "\033[%zuF\033[J", table->nlines);
    table->nlines = 0;
}

bool ways_table_begin(struct ways_table *table, FILE *out)
{
    const char *terminal = getenv("TERM");
    *table = (struct ways_table){.out = out, .ways = json_array()};
    return table->ways && isatty(fileno(out)) && terminal && strcmp(terminal, "dumb") != 0;
}

void ways_table_set(struct ways_table *table, size_t index, json_t *way)
{
    unsigned columns, lines;
    while (json_array_size(table->ways) < index && index < ROWS_MAX)
        json_array_append_new(table->ways, json_object());
    if (index < json_array_size(table->ways))
        json_array_set_new(table->ways, index, way);
    else
        json_array_append_new(table->ways, way);
    terminal_size(table->out, &columns, &lines);
    take_off(table);
    /* What has scrolled away can't be drawn over. */
    if (json_array_size(table->ways) + 1 < lines)
        table->nlines = ways_table_print(table->out, table->ways, columns);
    fflush(table->out);
}

void ways_table_end(struct ways_table *table)
{
    take_off(table);
    json_decref(table->ways);
    *table = (struct ways_table){0};
}
