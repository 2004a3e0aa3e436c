#include "base/result.h"

const char *result_name(enum result result)
{
    switch (result) {
    case RESULT_OK: return "ok";
    case RESULT_MORE: return "more";
    case RESULT_MEMORY: return "memory";
    case RESULT_LIMIT: return "limit";
    case RESULT_SYNTAX: return "syntax";
    case RESULT_NOT_FOUND: return "not-found";
    case RESULT_EXISTS: return "exists";
    case RESULT_DENIED: return "denied";
    case RESULT_BUSY: return "busy";
    case RESULT_FULL: return "full";
    case RESULT_IO: return "io";
    case RESULT_CORRUPT: return "corrupt";
    case RESULT_VERSION: return "version";
    case RESULT_CANCELLED: return "cancelled";
    }
    return "unknown";
}
