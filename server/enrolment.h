/* A device on its way into the store: XDEVICE (schema/link.md). The relay makes its id and its token, and tells them once, when they are stored. */
#ifndef POSTERN_SERVER_ENROLMENT_H
#define POSTERN_SERVER_ENROLMENT_H

#include "account.h"

#include "net/service.h"

struct enrolment;

/* Answers the session when it is done, and clears *at, which the owner keeps. account: as it was when the session proved its password; one that has changed since
 * enrols nobody, because the password that was proved may not be its password any more. served_ms: now, in the relay's own running time. NULL: out of memory; nothing is answered. */
struct enrolment *enrolment_new(struct store_client *store, const struct log *log, struct service_session *session, const struct account *account,
                                struct slice label, int64_t served_ms, struct enrolment **at);
/* The session has gone, and nobody will ever know the token: the device, if it comes to be, is removed again. */
void enrolment_abandon(struct enrolment **enrolment);

#endif
