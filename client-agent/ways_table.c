#include "ways_table.h"

#include "mta/console.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { CELL_MAX = 272, LINE_MAX_OCTETS = 2048, COLUMNS_USUAL = 80, ROWS_MAX = 256 };
/* What is printed once is read in logs and mails too: lines of about that length, but some room for the words whatever stands before them. --json has all. */
enum { COLUMNS_PRINTED = 100, COLUMNS_OF_WORDS = 40 };
enum cell { CELL_WAY, CELL_ADDRESS, CELL_VERDICT, CELL_TIME, NCELLS };

struct row {
    char cells[NCELLS][CELL_MAX];
    const char *words;
};

struct layout {
    int widths[NCELLS];
    unsigned columns; /* of a line */
};

/* ---- rows ------------------------------------------------------------------------------------------------------- */

static const struct row header = {{"way", "address", "result", "time"}, ""};

/* "465 tls", "443 tls http/1.1", "443 tls smtp via 10.0.0.1:3128" */
static void format_way(const json_t *way, char *out, size_t size)
{
    const char *alpn = console_text(way, "alpn"), *proxy = console_text(way, "proxy");
    snprintf(out, size, "%d %s%s%s%s%s", (int)json_integer_value(json_object_get(way, "port")), console_text(way, "mode"), *alpn ? " " : "", alpn,
             *proxy ? " via " : "", proxy);
}

static void make_row(const json_t *way, struct row *row)
{
    const json_t *ms = json_object_get(way, "ms");
    *row = (struct row){.words = console_text(way, "words")};
    format_way(way, row->cells[CELL_WAY], CELL_MAX);
    snprintf(row->cells[CELL_ADDRESS], CELL_MAX, "%s", console_text(way, "address"));
    snprintf(row->cells[CELL_VERDICT], CELL_MAX, "%s", console_text(way, "verdict"));
    if (json_is_integer(ms))
        snprintf(row->cells[CELL_TIME], CELL_MAX, "%lld ms", (long long)json_integer_value(ms));
}

static void widen(struct layout *layout, const struct row *row)
{
    for (size_t i = 0; i < NCELLS; i++) {
        int width = (int)strlen(row->cells[i]);
        layout->widths[i] = width > layout->widths[i] ? width : layout->widths[i];
    }
}

static struct layout make_layout(const json_t *ways, unsigned columns)
{
    struct layout layout = {.columns = columns};
    struct row row;
    unsigned before_words = 2;
    widen(&layout, &header);
    for (size_t i = 0; i < json_array_size(ways); i++) {
        make_row(json_array_get(ways, i), &row);
        widen(&layout, &row);
    }
    for (size_t i = 0; i < NCELLS; i++)
        before_words += (unsigned)layout.widths[i] + 2;
    if (columns == 0)
        layout.columns = before_words + COLUMNS_OF_WORDS > COLUMNS_PRINTED ? before_words + COLUMNS_OF_WORDS : COLUMNS_PRINTED;
    return layout;
}

/* ---- one line --------------------------------------------------------------------------------------------------- */

/* The octets of the first columns. Counts characters: words may hold what a server said in UTF-8. */
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

static void print_line(FILE *out, const struct row *row, const struct layout *layout)
{
    char text[LINE_MAX_OCTETS] = "";
    FILE *memory = fmemopen(text, sizeof text - 1, "w");
    const int *widths = layout->widths;
    if (!memory)
        return;
    fprintf(memory, "  %-*s  %-*s  %-*s  %*s  ", widths[CELL_WAY], row->cells[CELL_WAY], widths[CELL_ADDRESS], row->cells[CELL_ADDRESS], widths[CELL_VERDICT],
            row->cells[CELL_VERDICT], widths[CELL_TIME], row->cells[CELL_TIME]);
    console_print_text(memory, row->words);
    fclose(memory);
    size_t len = strlen(text);
    while (len > 0 && text[len - 1] == ' ')
        len--;
    bool is_whole = layout->columns < 4 || cut(text, len, layout->columns) == len;
    fprintf(out, "%.*s%s\n", (int)(is_whole ? len : cut(text, len, layout->columns - 3)), text, is_whole ? "" : "...");
}

size_t ways_table_print(FILE *out, const json_t *ways, unsigned columns)
{
    const struct layout layout = make_layout(ways, columns);
    size_t n = json_array_size(ways);
    struct row row;
    print_line(out, &header, &layout);
    for (size_t i = 0; i < n; i++) {
        make_row(json_array_get(ways, i), &row);
        print_line(out, &row, &layout);
    }
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
