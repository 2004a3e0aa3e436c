/* What both ends of HT-SHA-256-EXPR compute (draft-ietf-kitten-sasl-ht-00 3). Internal to shared/smtp. */
#ifndef POSTERN_SMTP_SASL_HT_H
#define POSTERN_SMTP_SASL_HT_H

#include "smtp/sasl.h"

#define SASL_HT_INITIATOR SLICE("Initiator")
#define SASL_HT_RESPONDER SLICE("Responder")

/* HMAC-SHA-256(token, role || binding). binding: at most SCRAM_BINDING_DATA_MAX octets. The caller wipes *out. */
void sasl_ht_proof(struct slice token, struct slice role, struct slice binding, uint8_t out[static SCRAM_KEY]);

#endif
