/* The client's side of SASL. The long exchanges were computed with another implementation (Python's hashlib and hmac). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "crypto/crypto.h"
#include "smtp/sasl.h"
#include "support/guard.h"

#define LEN(array) (sizeof(array) / sizeof *(array))
#define NONCE "MTIzNDU2Nzg5MDEyMzQ1Njc4"
#define SERVER_NONCE "YWJjZGVmZ2hpamtsbW5vcHFy"
#define SALT "W22ZaJ0SNY7soEsUEjb6gQ=="
#define SERVER_FIRST "r=" NONCE SERVER_NONCE ",s=" SALT ",i=4096"
#define ALL (SASL_PLAIN | SASL_LOGIN | SASL_SCRAM_SHA_256 | SASL_SCRAM_SHA_256_PLUS)

static const struct sasl_binding both[] = {
    {{"tls-server-end-point", 20}, {"digest", 6}},
    {{"tls-exporter", 12}, {"\x01\x02\x00\xff", 4}},
};

static struct sasl_client *new_client(enum sasl_mechanism mechanism, unsigned offered, const char *user, size_t nbindings)
{
    struct sasl_client_config config = {.user = slice_from_cstr(user), .password = SLICE("pencil"), .bindings = both, .nbindings = nbindings};
    memcpy(config.nonce, "123456789012345678", sizeof config.nonce);
    struct sasl_client *client = sasl_client_new(mechanism, offered, &config);
    assert_non_null(client);
    return client;
}

static void step_is(struct sasl_client *client, const char *challenge, enum result expected, struct slice response)
{
    struct buffer out = BUFFER(SASL_MESSAGE_MAX);
    struct slice text = guard_dup(slice_from_cstr(challenge));
    enum result result = sasl_client_step(client, text, &out);
    if (result != expected)
        fail_msg("%s: %s", challenge, result_name(result));
    if (!slice_equal(buffer_slice(&out), response))
        fail_msg("%s: got %.*s", challenge, SLICE_ARG(buffer_slice(&out)));
    guard_free(&text);
    buffer_free(&out);
}

static void chooses_the_best(void **state)
{
    (void)state;
    assert_int_equal(sasl_client_choose(ALL, true, true), SASL_SCRAM_SHA_256_PLUS);
    assert_int_equal(sasl_client_choose(ALL, false, true), SASL_SCRAM_SHA_256);
    assert_int_equal(sasl_client_choose(SASL_SCRAM_SHA_256_PLUS | SASL_PLAIN, false, true), SASL_PLAIN);
    assert_int_equal(sasl_client_choose(SASL_PLAIN | SASL_LOGIN, true, true), SASL_PLAIN);
    assert_int_equal(sasl_client_choose(SASL_LOGIN, true, true), SASL_LOGIN);
    assert_int_equal(sasl_client_choose(SASL_PLAIN | SASL_LOGIN, true, false), 0);
    assert_int_equal(sasl_client_choose(SASL_PLAIN | SASL_SCRAM_SHA_256, false, false), SASL_SCRAM_SHA_256);
    assert_int_equal(sasl_client_choose(0, true, true), 0);
}

static void speaks_plain(void **state)
{
    struct sasl_client *client = new_client(SASL_PLAIN, ALL, "alice", 0);
    (void)state;
    assert_true(sasl_client_has_initial(client));
    assert_false(sasl_client_is_satisfied(client));
    step_is(client, "", RESULT_OK, SLICE("\0alice\0pencil"));
    assert_true(sasl_client_is_satisfied(client));
    step_is(client, "more?", RESULT_DENIED, (struct slice){0});
    assert_false(sasl_client_is_satisfied(client));
    sasl_client_free(&client);
    assert_null(client);
}

static void speaks_login(void **state)
{
    struct sasl_client *client = new_client(SASL_LOGIN, ALL, "alice", 0);
    (void)state;
    assert_false(sasl_client_has_initial(client));
    step_is(client, "Benutzername:", RESULT_OK, SLICE("alice"));
    assert_false(sasl_client_is_satisfied(client));
    step_is(client, "Password:", RESULT_OK, SLICE("pencil"));
    assert_true(sasl_client_is_satisfied(client));
    step_is(client, "", RESULT_DENIED, (struct slice){0});
    sasl_client_free(&client);
}

static const struct exchange {
    enum sasl_mechanism mechanism;
    unsigned offered;
    const char *user;
    size_t nbindings;
    const char *first, *final, *verdict;
} exchanges[] = {
    {SASL_SCRAM_SHA_256, ALL, "user", 0, "n,,n=user,r=" NONCE,
     "c=biws,r=" NONCE SERVER_NONCE ",p=NAim9eHuigVJx0lnYM8pvoLJ9MheMVjh3kQb59WBVLY=", "v=pDMl6yrAoVLXMP0jqcB/0ib0uFiqaS1WFmnKCnfOqL4="},
    {SASL_SCRAM_SHA_256, SASL_SCRAM_SHA_256, "a,b=c", 2, "y,,n=a=2Cb=3Dc,r=" NONCE,
     "c=eSws,r=" NONCE SERVER_NONCE ",p=rB/qVV1s9Vm4NVKD5efl9fN3cGOvYh2AUo9x/C0QHjg=", "v=9dygmzeKPDWWYpQRLdbkRdK+3bEeMz7CB6wWAR+8PPg="},
    {SASL_SCRAM_SHA_256_PLUS, ALL, "user", 2, "p=tls-exporter,,n=user,r=" NONCE,
     "c=cD10bHMtZXhwb3J0ZXIsLAECAP8=,r=" NONCE SERVER_NONCE ",p=+Ti0l5YWupIzqntQpCMjAVwzveCuBc3ev5k0ZnlDLs4=",
     "v=qXVYs+gUoBcEK7g1/7dLsVICUgyUxbymvIdOAAg6RNs="},
    {SASL_SCRAM_SHA_256_PLUS, ALL, "user", 1, "p=tls-server-end-point,,n=user,r=" NONCE,
     "c=cD10bHMtc2VydmVyLWVuZC1wb2ludCwsZGlnZXN0,r=" NONCE SERVER_NONCE ",p=yax67rNUIfXdkWuLxviR6aV88+5gj2tCAkiE2mbZFZ8=",
     "v=725bLE7j2yvCJnKLIkixhBK4Ccvn1VEep9rG5dG29LA="},
    /* We have no channel binding, or chose not to use it: "n". */
    {SASL_SCRAM_SHA_256, SASL_SCRAM_SHA_256, "user", 0, "n,,n=user,r=" NONCE,
     "c=biws,r=" NONCE SERVER_NONCE ",p=NAim9eHuigVJx0lnYM8pvoLJ9MheMVjh3kQb59WBVLY=", "v=pDMl6yrAoVLXMP0jqcB/0ib0uFiqaS1WFmnKCnfOqL4="},
    {SASL_SCRAM_SHA_256, ALL, "user", 2, "n,,n=user,r=" NONCE,
     "c=biws,r=" NONCE SERVER_NONCE ",p=NAim9eHuigVJx0lnYM8pvoLJ9MheMVjh3kQb59WBVLY=", "v=pDMl6yrAoVLXMP0jqcB/0ib0uFiqaS1WFmnKCnfOqL4="},
};

static void speaks_scram(void **state)
{
    (void)state;
    for (size_t i = 0; i < LEN(exchanges); i++) {
        const struct exchange *e = &exchanges[i];
        struct sasl_client *client = new_client(e->mechanism, e->offered, e->user, e->nbindings);
        assert_true(sasl_client_has_initial(client));
        step_is(client, "", RESULT_OK, slice_from_cstr(e->first));
        step_is(client, SERVER_FIRST, RESULT_OK, slice_from_cstr(e->final));
        assert_false(sasl_client_is_satisfied(client));
        step_is(client, e->verdict, RESULT_OK, (struct slice){0});
        assert_true(sasl_client_is_satisfied(client));
        sasl_client_free(&client);
    }
}

/* Everything a server, or somebody posing as one, may get wrong in its first message. */
static void refuses_first_messages(void **state)
{
    static const char *const rows[] = {
        "",
        "r=" NONCE ",s=" SALT ",i=4096",
        "r=x" NONCE SERVER_NONCE ",s=" SALT ",i=4096",
        "r=" SERVER_NONCE ",s=" SALT ",i=4096",
        "r=" NONCE "\x01,s=" SALT ",i=4096",
        "s=" SALT ",r=" NONCE SERVER_NONCE ",i=4096",
        "m=x,r=" NONCE SERVER_NONCE ",s=" SALT ",i=4096",
        "r=" NONCE SERVER_NONCE ",s=" SALT ",i=4096,m=x",
        "r=" NONCE SERVER_NONCE ",s=,i=4096",
        "r=" NONCE SERVER_NONCE ",s=!!!!,i=4096",
        "r=" NONCE SERVER_NONCE ",s=" SALT,
        "r=" NONCE SERVER_NONCE ",s=" SALT ",i=",
        "r=" NONCE SERVER_NONCE ",s=" SALT ",i=4095",
        "r=" NONCE SERVER_NONCE ",s=" SALT ",i=0",
        "r=" NONCE SERVER_NONCE ",s=" SALT ",i=-4096",
        "r=" NONCE SERVER_NONCE ",s=" SALT ",i=1000001",
        "r=" NONCE SERVER_NONCE ",s=" SALT ",i=18446744073709555712",
        "r=" NONCE SERVER_NONCE ",s=" SALT ",i=4096,",
        SERVER_FIRST " ",
        "e=other-error",
    };
    (void)state;
    for (size_t i = 0; i < LEN(rows); i++) {
        struct sasl_client *client = new_client(SASL_SCRAM_SHA_256, ALL, "user", 0);
        step_is(client, "", RESULT_OK, SLICE("n,,n=user,r=" NONCE));
        step_is(client, rows[i], RESULT_DENIED, (struct slice){0});
        step_is(client, SERVER_FIRST, RESULT_DENIED, (struct slice){0});
        assert_false(sasl_client_is_satisfied(client));
        sasl_client_free(&client);
    }
}

static void demands_the_servers_proof(void **state)
{
    static const struct {
        const char *challenge;
        enum result result;
    } rows[] = {
        {"v=pDMl6yrAoVLXMP0jqcB/0ib0uFiqaS1WFmnKCnfOqL8=", RESULT_DENIED},
        {"v=pDMl6yrAoVLXMP0jqcB/0ib0uFiqaS1WFmnKCnfO", RESULT_DENIED},
        {"v=", RESULT_DENIED},
        {"v=!", RESULT_DENIED},
        {"", RESULT_DENIED},
        {"x=pDMl6yrAoVLXMP0jqcB/0ib0uFiqaS1WFmnKCnfOqL4=", RESULT_DENIED},
        {"v=pDMl6yrAoVLXMP0jqcB/0ib0uFiqaS1WFmnKCnfOqL4=,m=x", RESULT_DENIED},
        {"e=invalid-proof", RESULT_OK},
    };
    (void)state;
    for (size_t i = 0; i < LEN(rows); i++) {
        struct sasl_client *client = new_client(SASL_SCRAM_SHA_256, ALL, "user", 0);
        step_is(client, "", RESULT_OK, slice_from_cstr(exchanges[0].first));
        step_is(client, SERVER_FIRST, RESULT_OK, slice_from_cstr(exchanges[0].final));
        step_is(client, rows[i].challenge, rows[i].result, (struct slice){0});
        assert_false(sasl_client_is_satisfied(client));
        sasl_client_free(&client);
    }
}

/* A response that does not fit leaves the machine where it was, and the buffer too. */
static void survives_a_full_buffer(void **state)
{
    struct sasl_client *client = new_client(SASL_SCRAM_SHA_256, ALL, "user", 0);
    struct buffer small = BUFFER(20);
    (void)state;
    assert_int_equal(sasl_client_step(client, (struct slice){0}, &small), RESULT_LIMIT);
    assert_int_equal(buffer_len(&small), 0);
    step_is(client, "", RESULT_OK, slice_from_cstr(exchanges[0].first));
    assert_int_equal(sasl_client_step(client, SLICE(SERVER_FIRST), &small), RESULT_LIMIT);
    assert_int_equal(buffer_len(&small), 0);
    step_is(client, SERVER_FIRST, RESULT_OK, slice_from_cstr(exchanges[0].final));
    buffer_free(&small);
    sasl_client_free(&client);
}

static void refuses_credentials_out_of_bounds(void **state)
{
    struct sasl_client_config config = {.user = SLICE("a\nb"), .password = SLICE("x")};
    (void)state;
    assert_null(sasl_client_new(SASL_PLAIN, ALL, &config));
    config.user = SLICE("ab");
    config.password = SLICE("");
    assert_null(sasl_client_new(SASL_PLAIN, ALL, &config));
    config.password = SLICE("x\0y");
    assert_null(sasl_client_new(SASL_PLAIN, ALL, &config));
    config.password = SLICE("x");
    assert_null(sasl_client_new(SASL_SCRAM_SHA_256_PLUS, ALL, &config));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chooses_the_best),
        cmocka_unit_test(speaks_plain),
        cmocka_unit_test(speaks_login),
        cmocka_unit_test(speaks_scram),
        cmocka_unit_test(refuses_first_messages),
        cmocka_unit_test(demands_the_servers_proof),
        cmocka_unit_test(survives_a_full_buffer),
        cmocka_unit_test(refuses_credentials_out_of_bounds),
    };
    if (crypto_init() != RESULT_OK)
        return 1;
    return cmocka_run_group_tests_name("smtp/sasl_client", tests, NULL, NULL);
}
