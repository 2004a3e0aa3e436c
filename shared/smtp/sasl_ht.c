#include "smtp/sasl_ht.h"

#include "crypto/crypto.h"
#include "smtp/sasl_scram.h"

#include <assert.h>
#include <string.h>

enum { ROLE = 9 }; /* octets of "Initiator" and of "Responder" */

void sasl_ht_proof(struct slice token, struct slice role, struct slice binding, uint8_t out[static SCRAM_KEY])
{
    char message[ROLE + SCRAM_BINDING_DATA_MAX];
    assert(role.len == ROLE && binding.len <= SCRAM_BINDING_DATA_MAX);
    memcpy(message, role.ptr, role.len);
    if (binding.len > 0)
        memcpy(message + role.len, binding.ptr, binding.len);
    crypto_hmac_sha256(token, slice_of(message, role.len + binding.len), out);
}
