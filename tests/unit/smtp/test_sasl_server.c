/* The server's side of SASL, by rows and against our own client. */
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
#define SERVER_FIRST "r=" NONCE SERVER_NONCE ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
#define PROOF "NAim9eHuigVJx0lnYM8pvoLJ9MheMVjh3kQb59WBVLY="
#define ALL (SASL_PLAIN | SASL_LOGIN | SASL_SCRAM_SHA_256 | SASL_SCRAM_SHA_256_PLUS)

static const struct sasl_binding both[] = {
    {{"tls-exporter", 12}, {"\x01\x02\x00\xff", 4}},
    {{"tls-server-end-point", 20}, {"digest", 6}},
};

static struct sasl_server *new_server(enum sasl_mechanism mechanism, bool offered_plus)
{
    struct sasl_server *server = sasl_server_new(mechanism, offered_plus, both, 2, (const uint8_t *)"abcdefghijklmnopqr");
    assert_non_null(server);
    return server;
}

static struct scram_verifier pencil(void)
{
    struct scram_verifier verifier;
    uint8_t salt[16];
    size_t len;
    assert_true(crypto_base64_decode_to(SLICE("W22ZaJ0SNY7soEsUEjb6gQ=="), salt, sizeof salt, &len));
    assert_int_equal(scram_verifier_make(SLICE("pencil"), salt, len, 4096, &verifier), RESULT_OK);
    return verifier;
}

static void plain_is_parsed(void **state)
{
    static const struct {
        struct slice message;
        enum sasl_server_need need;
        const char *user, *password;
    } rows[] = {
        {{"\0alice\0pencil", 13}, SASL_NEED_PASSWORD, "alice", "pencil"},
        {{"alice\0alice\0pencil", 18}, SASL_NEED_PASSWORD, "alice", "pencil"},
        {{"\0j\xc3\xb6rg\0p w", 10}, SASL_NEED_PASSWORD, "j\xc3\xb6rg", "p w"},
        {{"bob\0alice\0pencil", 16}, SASL_FAILED, "", ""},
        {{"\0al\nice\0pencil", 14}, SASL_FAILED, "", ""},
        {{"\0alice\0pen\x01il", 13}, SASL_FAILED, "", ""},
        {{"\0alice\0penc\xefl", 13}, SASL_FAILED, "", ""},
        {{"", 0}, SASL_MALFORMED, "", ""},
        {{"alice", 5}, SASL_MALFORMED, "", ""},
        {{"\0alice", 6}, SASL_MALFORMED, "", ""},
        {{"\0alice\0", 7}, SASL_MALFORMED, "", ""},
        {{"\0\0pencil", 8}, SASL_MALFORMED, "", ""},
        {{"\0alice\0pencil\0", 14}, SASL_MALFORMED, "", ""},
    };
    (void)state;
    for (size_t i = 0; i < LEN(rows); i++) {
        struct sasl_server *server = new_server(SASL_PLAIN, true);
        struct sasl_server_step step;
        struct slice message = guard_dup(rows[i].message);
        sasl_server_start(server, true, message, &step);
        guard_free(&message);
        assert_int_equal(step.need, rows[i].need);
        assert_int_equal(step.challenge.len, 0);
        if (step.need == SASL_NEED_PASSWORD) {
            assert_true(slice_equal(step.user, slice_from_cstr(rows[i].user)));
            assert_true(slice_equal(step.password, slice_from_cstr(rows[i].password)));
        } else {
            assert_int_equal(step.password.len, 0);
            sasl_server_response(server, SLICE("\0alice\0pencil"), &step);
            assert_int_equal(step.need, rows[i].need);
        }
        sasl_server_free(&server);
        assert_null(server);
    }
}

static void plain_ends_in_a_verdict(void **state)
{
    (void)state;
    for (int is_right = 0; is_right < 2; is_right++) {
        struct sasl_server *server = new_server(SASL_PLAIN, true);
        struct sasl_server_step step;
        sasl_server_start(server, false, (struct slice){0}, &step);
        assert_int_equal(step.need, SASL_NEED_RESPONSE);
        assert_int_equal(step.challenge.len, 0);
        sasl_server_response(server, SLICE("\0alice\0pencil"), &step);
        assert_int_equal(step.need, SASL_NEED_PASSWORD);
        sasl_server_password_checked(server, is_right, &step);
        assert_int_equal(step.need, is_right ? SASL_SUCCEEDED : SASL_FAILED);
        assert_true(slice_equal(step.user, SLICE("alice")));
        assert_int_equal(step.challenge.len, 0);
        sasl_server_free(&server);
    }
}

static void plain_keeps_to_limits(void **state)
{
    char message[2 + SASL_NAME_MAX + SASL_PASSWORD_MAX + 1];
    struct sasl_server_step step;
    (void)state;
    memset(message, 'x', sizeof message);
    message[0] = message[1 + SASL_NAME_MAX] = '\0';
    for (size_t over = 0; over < 2; over++) {
        struct sasl_server *server = new_server(SASL_PLAIN, true);
        sasl_server_start(server, true, slice_of(message, sizeof message - 1 + over), &step);
        assert_int_equal(step.need, over ? SASL_FAILED : SASL_NEED_PASSWORD);
        sasl_server_free(&server);
    }
    struct sasl_server *server = new_server(SASL_PLAIN, true);
    message[1 + SASL_NAME_MAX] = 'x';
    message[2 + SASL_NAME_MAX] = '\0';
    sasl_server_start(server, true, slice_of(message, 300), &step);
    assert_int_equal(step.need, SASL_FAILED);
    sasl_server_free(&server);
}

static void login_asks_twice(void **state)
{
    struct sasl_server *server = new_server(SASL_LOGIN, true);
    struct sasl_server_step step;
    (void)state;
    sasl_server_start(server, false, (struct slice){0}, &step);
    assert_int_equal(step.need, SASL_NEED_RESPONSE);
    assert_true(slice_equal(step.challenge, SLICE("Username:")));
    sasl_server_response(server, SLICE("alice"), &step);
    assert_int_equal(step.need, SASL_NEED_RESPONSE);
    assert_true(slice_equal(step.challenge, SLICE("Password:")));
    sasl_server_response(server, SLICE("pencil"), &step);
    assert_int_equal(step.need, SASL_NEED_PASSWORD);
    assert_true(slice_equal(step.user, SLICE("alice")));
    assert_true(slice_equal(step.password, SLICE("pencil")));
    sasl_server_password_checked(server, true, &step);
    assert_int_equal(step.need, SASL_SUCCEEDED);
    sasl_server_free(&server);
}

static void login_takes_the_name_at_once(void **state)
{
    struct sasl_server *server = new_server(SASL_LOGIN, true);
    struct sasl_server_step step;
    (void)state;
    sasl_server_start(server, true, SLICE("alice"), &step);
    assert_true(slice_equal(step.challenge, SLICE("Password:")));
    sasl_server_response(server, SLICE(""), &step);
    assert_int_equal(step.need, SASL_MALFORMED);
    sasl_server_free(&server);
    server = new_server(SASL_LOGIN, true);
    sasl_server_start(server, true, SLICE(""), &step);
    assert_int_equal(step.need, SASL_MALFORMED);
    sasl_server_free(&server);
}

static void first_messages_are_judged(void **state)
{
    static const struct {
        enum sasl_mechanism mechanism;
        bool offered_plus;
        const char *message;
        enum sasl_server_need need;
        const char *user;
    } rows[] = {
        {SASL_SCRAM_SHA_256, true, "n,,n=user,r=abc", SASL_NEED_VERIFIER, "user"},
        {SASL_SCRAM_SHA_256, true, "n,a=user,n=user,r=abc", SASL_NEED_VERIFIER, "user"},
        {SASL_SCRAM_SHA_256, true, "n,a=a=2Cb,n=a=2Cb,r=abc", SASL_NEED_VERIFIER, "a,b"},
        {SASL_SCRAM_SHA_256, true, "n,,n=user,r=abc,x=future", SASL_NEED_VERIFIER, "user"},
        {SASL_SCRAM_SHA_256, false, "y,,n=user,r=abc", SASL_NEED_VERIFIER, "user"},
        {SASL_SCRAM_SHA_256_PLUS, true, "p=tls-exporter,,n=user,r=abc", SASL_NEED_VERIFIER, "user"},
        {SASL_SCRAM_SHA_256_PLUS, true, "p=tls-server-end-point,,n=user,r=abc", SASL_NEED_VERIFIER, "user"},
        /* the offer of PLUS was taken away in between */
        {SASL_SCRAM_SHA_256, true, "y,,n=user,r=abc", SASL_FAILED, NULL},
        {SASL_SCRAM_SHA_256_PLUS, true, "y,,n=user,r=abc", SASL_FAILED, NULL},
        {SASL_SCRAM_SHA_256_PLUS, true, "n,,n=user,r=abc", SASL_FAILED, NULL},
        {SASL_SCRAM_SHA_256, true, "p=tls-exporter,,n=user,r=abc", SASL_FAILED, NULL},
        {SASL_SCRAM_SHA_256_PLUS, true, "p=tls-unique,,n=user,r=abc", SASL_FAILED, NULL},
        {SASL_SCRAM_SHA_256_PLUS, true, "p=TLS-EXPORTER,,n=user,r=abc", SASL_FAILED, NULL},
        {SASL_SCRAM_SHA_256, true, "n,a=other,n=user,r=abc", SASL_FAILED, NULL},
        {SASL_SCRAM_SHA_256, true, "", SASL_MALFORMED, NULL},
        {SASL_SCRAM_SHA_256, true, "n", SASL_MALFORMED, NULL},
        {SASL_SCRAM_SHA_256, true, "n,,", SASL_MALFORMED, NULL},
        {SASL_SCRAM_SHA_256, true, "n,n=user,r=abc", SASL_MALFORMED, NULL},
        {SASL_SCRAM_SHA_256, true, "x,,n=user,r=abc", SASL_MALFORMED, NULL},
        {SASL_SCRAM_SHA_256_PLUS, true, "p=,,n=user,r=abc", SASL_MALFORMED, NULL},
        {SASL_SCRAM_SHA_256, true, "n,user,n=user,r=abc", SASL_MALFORMED, NULL},
        {SASL_SCRAM_SHA_256, true, "n,a=us=er,n=user,r=abc", SASL_MALFORMED, NULL},
        {SASL_SCRAM_SHA_256, true, "n,,m=x,n=user,r=abc", SASL_MALFORMED, NULL},
        {SASL_SCRAM_SHA_256, true, "n,,n=user,r=abc,m=x", SASL_MALFORMED, NULL},
        {SASL_SCRAM_SHA_256, true, "n,,n=us=er,r=abc", SASL_MALFORMED, NULL},
        {SASL_SCRAM_SHA_256, true, "n,,n=,r=abc", SASL_MALFORMED, NULL},
        {SASL_SCRAM_SHA_256, true, "n,,n=user", SASL_MALFORMED, NULL},
        {SASL_SCRAM_SHA_256, true, "n,,n=user,r=", SASL_MALFORMED, NULL},
        {SASL_SCRAM_SHA_256, true, "n,,n=user,r=a b", SASL_MALFORMED, NULL},
        {SASL_SCRAM_SHA_256, true, "n,,r=abc,n=user", SASL_MALFORMED, NULL},
    };
    (void)state;
    for (size_t i = 0; i < LEN(rows); i++) {
        struct sasl_server *server = new_server(rows[i].mechanism, rows[i].offered_plus);
        struct sasl_server_step step;
        struct slice message = guard_dup(slice_from_cstr(rows[i].message));
        sasl_server_start(server, true, message, &step);
        guard_free(&message);
        if (step.need != rows[i].need)
            fail_msg("%s: %d", rows[i].message, step.need);
        if (rows[i].user)
            assert_true(slice_equal(step.user, slice_from_cstr(rows[i].user)));
        sasl_server_free(&server);
    }
}

static void first_message_has_a_limit(void **state)
{
    char message[2049];
    struct sasl_server_step step;
    (void)state;
    memset(message, 'x', sizeof message);
    memcpy(message, "n,,n=user,r=", 12);
    for (size_t over = 0; over < 2; over++) {
        struct sasl_server *server = new_server(SASL_SCRAM_SHA_256, false);
        struct scram_verifier verifier = pencil();
        sasl_server_start(server, true, slice_of(message, 2048 + over), &step);
        assert_int_equal(step.need, over ? SASL_MALFORMED : SASL_NEED_VERIFIER);
        if (!over) {
            sasl_server_verifier_found(server, &verifier, true, &step);
            assert_int_equal(step.need, SASL_NEED_RESPONSE);
            assert_int_equal(step.challenge.len, 2 + (2048 - 12) + 24 + 3 + 24 + 7);
        }
        sasl_server_free(&server);
    }
}

static const struct {
    const char *message;
    enum sasl_server_need need;
} finals[] = {
    {"c=biws,r=" NONCE SERVER_NONCE ",p=" PROOF, SASL_SUCCEEDED},
    {"c=biws,r=" NONCE SERVER_NONCE ",p=NAim9eHuigVJx0lnYM8pvoLJ9MheMVjh3kQb59WBVLc=", SASL_FAILED},
    {"c=eSws,r=" NONCE SERVER_NONCE ",p=" PROOF, SASL_FAILED},
    {"c=biws,r=" NONCE SERVER_NONCE "x,p=" PROOF, SASL_FAILED},
    {"c=biws,r=" NONCE SERVER_NONCE "x,p=FlVSKOumnMruuh0flOpZrmwwVz9+OA5mHUFhw1hUQIs=", SASL_FAILED}, /* a right proof over another nonce */
    {"c=biws,r=" NONCE SERVER_NONCE ",x=1,p=" PROOF, SASL_FAILED},
    {"c=!,r=" NONCE SERVER_NONCE ",p=" PROOF, SASL_FAILED},
    {"", SASL_MALFORMED},
    {"c=biws,r=" NONCE SERVER_NONCE, SASL_MALFORMED},
    {"c=biws,r=" NONCE SERVER_NONCE ",p=", SASL_MALFORMED},
    {"c=biws,r=" NONCE SERVER_NONCE ",p=NAim", SASL_MALFORMED},
    {"c=biws,r=" NONCE SERVER_NONCE ",p=" PROOF ",x=1", SASL_MALFORMED},
    {"c=biws,r=" NONCE SERVER_NONCE ",m=1,p=" PROOF, SASL_MALFORMED},
    {"r=" NONCE SERVER_NONCE ",c=biws,p=" PROOF, SASL_MALFORMED},
    {"p=" PROOF, SASL_MALFORMED},
};

static void final_messages_are_judged(void **state)
{
    struct scram_verifier verifier = pencil();
    (void)state;
    for (size_t i = 0; i < LEN(finals); i++) {
        struct sasl_server *server = new_server(SASL_SCRAM_SHA_256, true);
        struct sasl_server_step step;
        sasl_server_start(server, true, SLICE("n,,n=user,r=" NONCE), &step);
        sasl_server_verifier_found(server, &verifier, true, &step);
        assert_true(slice_equal(step.challenge, SLICE(SERVER_FIRST)));
        struct slice message = guard_dup(slice_from_cstr(finals[i].message));
        sasl_server_response(server, message, &step);
        guard_free(&message);
        if (step.need != finals[i].need)
            fail_msg("%s: %d", finals[i].message, step.need);
        assert_true(slice_equal(step.challenge, slice_from_cstr(i == 0 ? "v=pDMl6yrAoVLXMP0jqcB/0ib0uFiqaS1WFmnKCnfOqL4=" : "")));
        sasl_server_response(server, SLICE(""), &step);
        assert_int_equal(step.need, finals[i].need);
        assert_int_equal(step.challenge.len, 0);
        sasl_server_free(&server);
    }
}

static void verdict_wants_an_empty_answer(void **state)
{
    struct scram_verifier verifier = pencil();
    struct sasl_server *server = new_server(SASL_SCRAM_SHA_256, true);
    struct sasl_server_step step;
    (void)state;
    sasl_server_start(server, true, SLICE("n,,n=user,r=" NONCE), &step);
    sasl_server_verifier_found(server, &verifier, true, &step);
    sasl_server_response(server, slice_from_cstr(finals[0].message), &step);
    assert_int_equal(step.need, SASL_SUCCEEDED);
    sasl_server_response(server, SLICE("x"), &step);
    assert_int_equal(step.need, SASL_MALFORMED);
    sasl_server_free(&server);
}

/* A made-up verifier never lets anybody in, not even with the right proof. */
static void unknown_user_never_succeeds(void **state)
{
    struct scram_verifier verifier = pencil();
    struct sasl_server *server = new_server(SASL_SCRAM_SHA_256, true);
    struct sasl_server_step step;
    (void)state;
    sasl_server_start(server, true, SLICE("n,,n=user,r=" NONCE), &step);
    sasl_server_verifier_found(server, &verifier, false, &step);
    assert_int_equal(step.need, SASL_NEED_RESPONSE);
    sasl_server_response(server, slice_from_cstr(finals[0].message), &step);
    assert_int_equal(step.need, SASL_FAILED);
    sasl_server_free(&server);
}

/* ---- both ends of ours ---- */

struct meeting {
    enum sasl_mechanism mechanism;
    unsigned client_sees;       /* of the server's offer */
    bool server_offers_plus;
    struct slice binding;       /* as the client knows it */
    const char *password;
    bool succeeds;
};

static void client_says(struct sasl_client *client, struct slice challenge, struct buffer *out)
{
    buffer_clear(out);
    assert_int_equal(sasl_client_step(client, challenge, out), RESULT_OK);
}

static void meet(const struct meeting *meeting)
{
    struct sasl_binding binding = {SLICE("tls-exporter"), meeting->binding};
    struct sasl_client_config config = {
        .user = SLICE("user"), .password = slice_from_cstr(meeting->password), .bindings = &binding, .nbindings = binding.data.len > 0};
    struct sasl_client *client = sasl_client_new(meeting->mechanism, meeting->client_sees, &config);
    struct sasl_server *server = new_server(meeting->mechanism, meeting->server_offers_plus);
    struct scram_verifier verifier = pencil();
    struct sasl_server_step step = {.need = SASL_NEED_RESPONSE};
    struct buffer response = BUFFER(SASL_MESSAGE_MAX);
    client_says(client, (struct slice){0}, &response);
    sasl_server_start(server, true, buffer_slice(&response), &step);
    if (step.need == SASL_NEED_VERIFIER) {
        sasl_server_verifier_found(server, &verifier, true, &step);
        client_says(client, step.challenge, &response);
        sasl_server_response(server, buffer_slice(&response), &step);
    }
    assert_int_equal(step.need, meeting->succeeds ? SASL_SUCCEEDED : SASL_FAILED);
    if (meeting->succeeds)
        client_says(client, step.challenge, &response);
    assert_int_equal(sasl_client_is_satisfied(client), meeting->succeeds);
    buffer_free(&response);
    sasl_client_free(&client);
    sasl_server_free(&server);
}

static void both_ends_meet(void **state)
{
    static const struct meeting rows[] = {
        {SASL_SCRAM_SHA_256, SASL_SCRAM_SHA_256, false, {"", 0}, "pencil", true},
        {SASL_SCRAM_SHA_256, SASL_SCRAM_SHA_256, false, {"\x01\x02\x00\xff", 4}, "pencil", true},
        {SASL_SCRAM_SHA_256, ALL, true, {"", 0}, "pencil", true},
        {SASL_SCRAM_SHA_256_PLUS, ALL, true, {"\x01\x02\x00\xff", 4}, "pencil", true},
        {SASL_SCRAM_SHA_256, SASL_SCRAM_SHA_256, false, {"", 0}, "pencils", false},
        /* somebody in between: another channel on each side; the offer of PLUS taken away */
        {SASL_SCRAM_SHA_256_PLUS, ALL, true, {"\x01\x02\x00\xfe", 4}, "pencil", false},
        {SASL_SCRAM_SHA_256, SASL_SCRAM_SHA_256, true, {"\x01\x02\x00\xff", 4}, "pencil", false},
    };
    (void)state;
    for (size_t i = 0; i < LEN(rows); i++)
        meet(&rows[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_is_parsed),
        cmocka_unit_test(plain_ends_in_a_verdict),
        cmocka_unit_test(plain_keeps_to_limits),
        cmocka_unit_test(login_asks_twice),
        cmocka_unit_test(login_takes_the_name_at_once),
        cmocka_unit_test(first_messages_are_judged),
        cmocka_unit_test(first_message_has_a_limit),
        cmocka_unit_test(final_messages_are_judged),
        cmocka_unit_test(verdict_wants_an_empty_answer),
        cmocka_unit_test(unknown_user_never_succeeds),
        cmocka_unit_test(both_ends_meet),
    };
    if (crypto_init() != RESULT_OK)
        return 1;
    return cmocka_run_group_tests_name("smtp/sasl_server", tests, NULL, NULL);
}
