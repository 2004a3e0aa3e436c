#include "config/dirs.h"

#include "base/buffer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct dirs_environment dirs_environment(void)
{
    return (struct dirs_environment){
        .home = getenv("HOME"),
        .xdg_config_home = getenv("XDG_CONFIG_HOME"),
        .xdg_data_home = getenv("XDG_DATA_HOME"),
        .xdg_runtime_dir = getenv("XDG_RUNTIME_DIR"),
    };
}

static bool is_absolute(const char *path)
{
    return path && path[0] == '/';
}

/* The folder of an XDG variable, or of the home when that is not set; NULL: out of memory. */
static const char *xdg_folder(struct arena *arena, const char *variable, const char *home, const char *below_home)
{
    if (is_absolute(variable))
        return arena_printf(arena, "%s/postern", variable);
    return arena_printf(arena, "%s/%s/postern", home, below_home);
}

static enum result find_agent(const struct dirs_environment *environment, struct arena *arena, struct dirs *out)
{
    bool has_home = is_absolute(environment->home);
    if (!has_home && !(is_absolute(environment->xdg_config_home) && is_absolute(environment->xdg_data_home)))
        return RESULT_NOT_FOUND;
    const char *home = has_home ? environment->home : "";
    out->config_folder = xdg_folder(arena, environment->xdg_config_home, home, ".config");
    out->data_folder = xdg_folder(arena, environment->xdg_data_home, home, ".local/share");
    out->run_folder = out->data_folder;
    if (is_absolute(environment->xdg_runtime_dir))
        out->run_folder = xdg_folder(arena, environment->xdg_runtime_dir, home, "");
    return RESULT_OK;
}

static enum result find_folders(enum dirs_program program, const char *dir, const struct dirs_environment *environment, struct arena *arena,
                                struct dirs *out)
{
    if (dir && !dir[0])
        return RESULT_SYNTAX;
    if (!dir && program == DIRS_AGENT)
        return find_agent(environment, arena, out);
    const char *own = dir ? arena_cstr(arena, slice_from_cstr(dir)) : NULL;
    out->config_folder = dir ? own : "/etc/postern";
    out->data_folder = dir ? own : "/var/lib/postern";
    out->run_folder = dir ? own : "/run/postern";
    return RESULT_OK;
}

enum result dirs_find(enum dirs_program program, const char *dir, const struct dirs_environment *environment, struct arena *arena, struct dirs *out)
{
    *out = (struct dirs){0};
    const char *name = program == DIRS_RELAY ? "relay" : "agent";
    enum result result = find_folders(program, dir, environment, arena, out);
    if (result != RESULT_OK)
        return result;
    if (!out->config_folder || !out->data_folder || !out->run_folder)
        return RESULT_MEMORY;
    out->dir = dir ? out->config_folder : NULL;
    out->config_file = arena_printf(arena, "%s/%s.conf", out->config_folder, name);
    out->database = arena_printf(arena, "%s/%s.db", out->data_folder, name);
    out->keys = arena_printf(arena, "%s/keys", out->data_folder);
    out->socket = arena_printf(arena, "%s/%s.sock", out->run_folder, name);
    return out->config_file && out->database && out->keys && out->socket ? RESULT_OK : RESULT_MEMORY;
}

/* ---- hints ------------------------------------------------------------------------------------------------------ */

static bool is_plain(const char *text)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/._-+,:@%";
    return strspn(text, plain) == strlen(text);
}

/* In single quotes; a quote of its own stands outside of them, behind a backslash. */
static enum result append_quoted(struct buffer *out, const char *text)
{
    enum result result = buffer_append_cstr(out, "'");
    for (; *text && result == RESULT_OK; text++)
        result = *text == '\'' ? buffer_append_cstr(out, "'\\''") : buffer_append(out, slice_of(text, 1));
    return result == RESULT_OK ? buffer_append_cstr(out, "'") : result;
}

const char *dirs_hint(const struct dirs *dirs, const char *command, char out[static DIRS_HINT_MAX])
{
    struct buffer text = BUFFER(DIRS_HINT_MAX - 1);
    const char *dir = dirs ? dirs->dir : NULL;
    enum result result = buffer_append_cstr(&text, command);
    if (dir && result == RESULT_OK)
        result = buffer_append_cstr(&text, " --dir ");
    if (dir && result == RESULT_OK)
        result = is_plain(dir) ? buffer_append_cstr(&text, dir) : append_quoted(&text, dir);
    if (result != RESULT_OK || !slice_to_cstr(buffer_slice(&text), out, DIRS_HINT_MAX))
        snprintf(out, DIRS_HINT_MAX, "%s", command);
    buffer_free(&text);
    return out;
}
