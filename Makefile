# Postern. The two commands of the README: `make demo` and `make check`; each does its own set-up.
# Everything built goes to build/; variants of the build (clang, asan) to build/VARIANT. New .c files are found by
# their place, so a new module or test needs no line here.

V         ?= release
B         := $(if $(filter release,$(V)),build,build/$(V))
CC_release = gcc
CC_clang   = clang
CC_asan    = clang
CC_fuzz    = clang
CC_cover   = gcc
CC        := $(CC_$(V))
JOBS      := $(shell nproc)

WARN  = -Wall -Wextra -Werror -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wformat=2 \
        -Wimplicit-fallthrough -Wundef
HARD  = -O2 -D_FORTIFY_SOURCE=3 -fstack-protector-strong -fstack-clash-protection -ftrivial-auto-var-init=zero
SAN   = -O1 -fno-omit-frame-pointer -fno-sanitize-recover=all
FLAGS_release = $(HARD)
FLAGS_clang   = $(filter-out -D_FORTIFY_SOURCE=3 -ftrivial-auto-var-init=zero,$(HARD))
FLAGS_asan    = $(SAN) -fsanitize=address,undefined
FLAGS_fuzz    = $(SAN) -fsanitize=address,undefined,fuzzer-no-link
FLAGS_cover   = -O0 --coverage

-include build/deps/deps.mk
PKGS      = libuv sqlite3 libsodium libunbound INIReader jansson libqrencode libidn2 libmnl
PKG_LIBS  = -luv -lsqlite3 -lsodium -lunbound -linih -ljansson -lqrencode -lidn2 -lmnl
CPPFLAGS += -D_GNU_SOURCE -Ishared -I$(B)/gen $(MBEDTLS_CFLAGS)
CFLAGS   += -std=c17 -g -fPIE -pthread $(WARN) $(FLAGS_$(V))
LDFLAGS  += -pie -pthread -Wl,-z,relro,-z,now -Wl,--as-needed $(filter -f%,$(FLAGS_$(V)))
LDLIBS   += $(MBEDTLS_LIBS) $(PKG_LIBS)

.PHONY: all demo check check-asan check-fault check-lab check-quick fuzz bench lint clean install setup-build setup-check setup-demo \
        setup-bench setup-fault programs tests
.DELETE_ON_ERROR:
.SECONDARY:
all: setup-build
	@$(MAKE) --no-print-directory -j$(JOBS) programs

# ---- set-up: nothing but make and apt is taken for granted --------------------------------------------------------
# (Named one by one: make looks for no pattern rule for a phony target.)
setup-build setup-check setup-demo setup-bench setup-fault:
	@deploy/bootstrap $(@:setup-%=%)

# ---- objects, libraries, programs ---------------------------------------------------------------------------------
SHARED_SRC  := $(wildcard shared/*/*.c)
SERVER_SRC  := $(filter-out server/main.c,$(wildcard server/*.c))
AGENT_SRC   := $(filter-out client-agent/main.c,$(wildcard client-agent/*.c))
SUPPORT_SRC := $(filter-out %/fuzz_main.c,$(wildcard tests/support/*.c))
obj          = $(patsubst %.c,$(B)/obj/%.o,$(1))

$(B)/obj/%.o: %.c | $(B)/gen/schema.h
	@mkdir -p $(@D)
	@echo "  CC   $<"
	@$(CC) $(CPPFLAGS) -Itests $(CFLAGS) -MMD -MP -c -o $@ $<
$(B)/obj/tests/unit/agent/%.o $(B)/obj/tests/fuzz/fuzz_agent_%.o $(B)/obj/tests/fault/oom_agent.o $(B)/obj/tests/fault/oom_agent_%.o: CPPFLAGS += -Iclient-agent
$(B)/obj/tests/unit/server/%.o $(B)/obj/tests/fault/oom_gate.o $(B)/obj/tests/fault/oom_served.o: CPPFLAGS += -Iserver
$(B)/obj/gen/%.o: $(B)/gen/%.c
	@mkdir -p $(@D)
	@$(CC) $(CPPFLAGS) $(CFLAGS) -c -o $@ $<

# The SQL migrations and the annotated configurations are part of the programs.
$(B)/gen/schema.c $(B)/gen/schema.h &: schema/embed $(wildcard schema/*/*.sql schema/config/*.conf)
	@mkdir -p $(@D)
	@schema/embed $(@D)

define archive
	@rm -f $@ && ar rcs $@ $^
endef
$(B)/libpostern.a: $(call obj,$(SHARED_SRC)) $(B)/obj/gen/schema.o ; $(archive)
$(B)/libserver.a: $(call obj,$(SERVER_SRC)) ; $(archive)
$(B)/libagent.a: $(call obj,$(AGENT_SRC)) ; $(archive)
$(B)/libsupport.a: $(call obj,$(SUPPORT_SRC)) ; $(archive)

link = echo "  LD   $@"; $(CC) $(LDFLAGS) $(1) -o $@ $(filter-out $(not_linked),$(filter %.o %.a,$^)) $(LDLIBS)
$(B)/postern-relay: $(call obj,server/main.c) $(B)/libserver.a $(B)/libpostern.a
	@$(call link)
$(B)/postern-agent: $(call obj,client-agent/main.c) $(B)/libagent.a $(B)/libpostern.a
	@$(call link)
programs: $(if $(wildcard server/main.c),$(B)/postern-relay) $(if $(wildcard client-agent/main.c),$(B)/postern-agent)

# ---- tests: one executable each -----------------------------------------------------------------------------------
#   tests/unit/MODULE/test_*.c  tests/property/prop_*.c  tests/transcript/run_*.c     cmocka
#   tests/fault/crash_*.c  ioerr_*.c                                                   cmocka
#   tests/fault/oom_*.c         cmocka, with the allocator wrapped                      (tests/support/oom.h)
#   tests/lab/*.c               programs that the lab starts on its hosts; those that know nothing of ours it builds itself (tests/lab/tools.py)
#   tests/fuzz/fuzz_*.c         libFuzzer targets; here they replay tests/fuzz/corpus/TARGET
exe           = $(patsubst tests/%.c,$(B)/tests/%,$(1))
# Programs that the tests in Python there start.
HELPERS      := $(call exe,$(wildcard tests/integration/*.c) tests/fault/killat.c)
UNIT_TESTS   := $(call exe,$(wildcard tests/unit/*/test_*.c tests/property/prop_*.c tests/transcript/run_*.c \
                 tests/fault/crash_*.c tests/fault/ioerr_*.c))
OOM_TESTS    := $(call exe,$(wildcard tests/fault/oom_*.c))
FUZZ_TARGETS := $(call exe,$(wildcard tests/fuzz/fuzz_*.c))
BENCH_EXE    := $(call exe,$(wildcard tests/bench/bench_*.c))
LAB_EXE      := $(call exe,$(filter-out %/wire.c %/boottime.c,$(wildcard tests/lab/*.c)))
# What only check-fault needs: a disk that remembers (libfuse3), and programs without fsync.
FAULT_EXE    := $(B)/tests/fault/blocklog $(B)/tests/fault/nosync.so
# Loaded before programs that are to meet a disk that fails.
PRELOADS     := $(B)/tests/fault/failing.so
LIBS          = $(B)/libsupport.a $(B)/libserver.a $(B)/libagent.a $(B)/libpostern.a
# The two programs use the same words for the like things of theirs, so a test sees one of them: the agent in */agent/, fuzz_agent_* and oom_agent*, else the relay.
not_linked    = $(if $(findstring /tests/,$@),$(if $(findstring /agent/,$@)$(findstring /fuzz_agent_,$@)$(findstring /oom_agent,$@),$(B)/libserver.a,$(B)/libagent.a))
WRAP          = -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=strdup,--wrap=sodium_malloc,--wrap=posix_spawn,--wrap=posix_spawnattr_init \
                -Wl,--wrap=posix_spawn_file_actions_init,--wrap=posix_spawn_file_actions_adddup2,--wrap=posix_spawn_file_actions_addopen

$(UNIT_TESTS) $(BENCH_EXE): $(B)/tests/%: $(B)/obj/tests/%.o $(LIBS)
	@mkdir -p $(@D)
	@$(call link) -lcmocka
$(LAB_EXE): $(B)/tests/%: $(B)/obj/tests/%.o $(LIBS)
	@mkdir -p $(@D)
	@$(call link)
$(HELPERS): $(B)/tests/%: $(B)/obj/tests/%.o $(LIBS)
	@mkdir -p $(@D)
	@$(call link)
$(B)/obj/tests/fault/blocklog.o: CPPFLAGS += -isystem /usr/include/fuse3
$(B)/tests/fault/blocklog: $(B)/obj/tests/fault/blocklog.o $(B)/libpostern.a
	@mkdir -p $(@D)
	@$(call link) -lfuse3
$(B)/tests/fault/%.so: tests/fault/%.c
	@mkdir -p $(@D)
	@echo "  LD   $@"
	@$(CC) -D_GNU_SOURCE -std=c17 -g -O2 $(WARN) -fPIC -shared -pthread -o $@ $<
$(OOM_TESTS): $(B)/tests/%: $(B)/obj/tests/%.o $(LIBS)
	@mkdir -p $(@D)
	@$(call link,$(WRAP)) -lcmocka
ifeq ($(V),fuzz)
$(FUZZ_TARGETS): $(B)/tests/%: $(B)/obj/tests/%.o $(LIBS)
	@mkdir -p $(@D)
	@$(call link,-fsanitize=fuzzer)
else
$(FUZZ_TARGETS): $(B)/tests/%: $(B)/obj/tests/%.o $(B)/obj/tests/support/fuzz_main.o $(LIBS)
	@mkdir -p $(@D)
	@$(call link)
endif
tests: $(UNIT_TESTS) $(OOM_TESTS) $(FUZZ_TARGETS) $(LAB_EXE) $(HELPERS) $(PRELOADS)

export POSTERN_RESULTS ?= $(CURDIR)/build/test-results
export POSTERN_BUILD   := $(CURDIR)/$(B)

# The tests that open no socket and start no program: what one runs while writing.
check-quick: setup-build setup-check
	@$(MAKE) --no-print-directory -j$(JOBS) programs tests
	@tests/support/run-tests $(UNIT_TESTS) $(OOM_TESTS)
	@tests/support/run-tests --replay $(FUZZ_TARGETS)

check: setup-build setup-check
	@mkdir -p build && rm -f build/test-results
	@$(MAKE) --no-print-directory -j$(JOBS) programs tests
	@$(MAKE) --no-print-directory -j$(JOBS) V=clang programs tests
	@status=0; \
	$(MAKE) --no-print-directory lint || status=1; \
	$(MAKE) --no-print-directory check-quick || status=1; \
	tests/support/run-pytest -m "not long" tests/lint tests/integration tests/lab tests/fault || status=1; \
	tests/support/summary && exit $$status

check-asan: setup-build setup-check
	@$(MAKE) --no-print-directory -j$(JOBS) V=asan programs tests
	@$(MAKE) --no-print-directory V=asan check-quick
	@POSTERN_BUILD=$(CURDIR)/build/asan tests/support/run-pytest -m "not long" tests/lint tests/integration tests/lab

# Long runs.
check-fault: setup-build setup-check setup-fault
	@$(MAKE) --no-print-directory -j$(JOBS) programs tests $(FAULT_EXE)
	@tests/support/run-pytest --timeout $${POSTERN_PYTEST_TIMEOUT_S:-1200} tests/fault
check-lab: setup-build setup-check
	@$(MAKE) --no-print-directory -j$(JOBS) programs $(LAB_EXE)
	@status=0; \
	tests/support/run-pytest tests/lab || status=1; \
	tests/lab/run || status=1; exit $$status

# make fuzz T=reply SECONDS=60; without T each target in turn.
SECONDS ?= 20
T       ?= $(patsubst fuzz_%,%,$(notdir $(FUZZ_TARGETS)))
fuzz: setup-build setup-check
	@$(MAKE) --no-print-directory -j$(JOBS) V=fuzz $(foreach t,$(T),build/fuzz/tests/fuzz/fuzz_$(t))
	@for t in $(T); do echo "== $$t"; mkdir -p build/fuzz/corpus/$$t; \
	  build/fuzz/tests/fuzz/fuzz_$$t -max_total_time=$(SECONDS) -print_final_stats=1 \
	    $$(test -f tests/fuzz/smtp.dict && echo -dict=tests/fuzz/smtp.dict) \
	    build/fuzz/corpus/$$t tests/fuzz/corpus/$$t || exit 1; done

lint: programs
	@tests/lint/layers $(B)
	@tests/lint/style

bench: setup-build setup-bench
	@$(MAKE) --no-print-directory -j$(JOBS) programs
	@tests/bench/run

demo: setup-build setup-demo
	@$(MAKE) --no-print-directory -j$(JOBS) programs
	@tests/lab/demo

# ---- installation -------------------------------------------------------------------------------------------------
PREFIX ?= /usr/local
install: all
	install -Dm755 build/postern-relay $(DESTDIR)$(PREFIX)/sbin/postern-relay
	install -Dm755 build/postern-agent $(DESTDIR)$(PREFIX)/bin/postern-agent
	install -Dm644 -t $(DESTDIR)$(PREFIX)/lib/systemd/system deploy/systemd/*.service
	install -Dm644 -t $(DESTDIR)$(PREFIX)/lib/systemd/user deploy/systemd/user/*.service
	install -Dm644 -t $(DESTDIR)$(PREFIX)/lib/sysusers.d deploy/sysusers.d/*.conf
	install -Dm644 -t $(DESTDIR)$(PREFIX)/lib/tmpfiles.d deploy/tmpfiles.d/*.conf
	for p in deploy/man/*.[158]; do install -Dm644 $$p $(DESTDIR)$(PREFIX)/share/man/man$${p##*.}/$${p##*/}; done

clean:
	rm -rf $(filter-out build/deps,$(wildcard build/*))

-include $(shell find $(B)/obj -name '*.d' 2>/dev/null)
