/* The running relay: owns configuration, store, loops, delivery and control socket; nothing in the program is global but this, and it is passed down.
 *
 * Threads: the main one (signals, control socket, delivery), those of the sessions (thread.h), the verifier's, the store's three.
 *
 *   SIGHUP           configuration and certificates are read again; what is wrong is logged and everything stays as it was
 *   SIGTERM, SIGINT  no new connections; sessions and deliveries in mid-message end within RELAY_GRACE_MS; then all stops */
#ifndef POSTERN_SERVER_RELAY_H
#define POSTERN_SERVER_RELAY_H

#include "config/dirs.h"

enum { RELAY_GRACE_MS = 20000 };

/* Until it is told to stop. The exit code, as in sysexits; errors are logged. */
int relay_run(const struct dirs *dirs);

#endif
