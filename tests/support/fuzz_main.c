/* A main() for fuzz targets where there is no libFuzzer: it gives each file named on the command line, and each file
 * below each folder, to LLVMFuzzerTestOneInput once. So every corpus is replayed by `make check`, with gcc too.
 *
 * Inputs end at an inaccessible page (support/guard.h), which catches a reader that goes too far without any sanitizer.
 * The input being replayed is named when the target dies. */
#include "support/guard.h"

#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { INPUT_MAX = 1 << 20, OPEN_FOLDERS_MAX = 16 };

/* nftw and the signal handler have no argument for these. */
static unsigned count_inputs;
static char input_name[4096];

static void name_input(int number)
{
    static const char before[] = "\nfuzz_main: died on ";
    (void)!write(STDERR_FILENO, before, sizeof before - 1);
    (void)!write(STDERR_FILENO, input_name, strlen(input_name));
    (void)!write(STDERR_FILENO, "\n", 1);
    signal(number, SIG_DFL);
    raise(number);
}

static void replay_octets(const char *octets, size_t len)
{
    struct slice input = guard_dup(slice_of(octets, len));
    LLVMFuzzerTestOneInput((const uint8_t *)input.ptr, input.len);
    guard_free(&input);
    count_inputs++;
}

static int replay_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    char *octets = malloc(INPUT_MAX);
    int failed = file == NULL || octets == NULL;
    if (!failed) {
        size_t len = fread(octets, 1, INPUT_MAX, file);
        failed = ferror(file) || (len == INPUT_MAX && fgetc(file) != EOF);
        if (!failed) {
            snprintf(input_name, sizeof input_name, "%s", path);
            replay_octets(octets, len);
        }
    }
    if (failed)
        fprintf(stderr, "fuzz_main: cannot read %s, or it is larger than %d octets\n", path, INPUT_MAX);
    if (file != NULL)
        fclose(file);
    free(octets);
    return failed;
}

static int visit(const char *path, const struct stat *status, int type, struct FTW *where)
{
    (void)status;
    (void)where;
    if (type == FTW_DNR || type == FTW_NS) {
        fprintf(stderr, "fuzz_main: cannot read %s\n", path);
        return 1;
    }
    return type == FTW_F ? replay_file(path) : 0;
}

int main(int argc, char **argv)
{
    static const int deadly[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL};
    for (size_t i = 0; i < sizeof deadly / sizeof deadly[0]; i++)
        signal(deadly[i], name_input);

    snprintf(input_name, sizeof input_name, "the empty input");
    replay_octets("", 0);
    for (int i = 1; i < argc; i++) {
        if (nftw(argv[i], visit, OPEN_FOLDERS_MAX, FTW_PHYS) != 0) {
            fprintf(stderr, "fuzz_main: stopped at %s\n", argv[i]);
            return 1;
        }
    }
    printf("fuzz_main: %u inputs\n", count_inputs);
    return 0;
}
