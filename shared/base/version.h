/* The number of this release, for --version of both programs. */
#ifndef POSTERN_BASE_VERSION_H
#define POSTERN_BASE_VERSION_H

#define POSTERN_VERSION "0.4"

#endif
