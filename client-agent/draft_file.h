/* A temporary file that holds a draft: what is written to the disk of it is sealed, under a key that nobody else ever has and that is gone with the process. The last 64 KiB stay in memory, so most drafts never
 * come to a disk at all. What remains is memory: pages of this process may be swapped out, as those of the program that dictates may. */
#ifndef POSTERN_AGENT_DRAFT_FILE_H
#define POSTERN_AGENT_DRAFT_FILE_H

#include <stdio.h>

/* For writing to its end, then rewind and reading, as often as one likes; end it with fclose. NULL, with errno: no memory. */
FILE *draft_file_open(void);

#endif
