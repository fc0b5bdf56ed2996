# "make unit" and "make fuzz": the pure protocol files as ordinary programs,
# without a server.  The top Makefile includes this after PGXS; by itself,
# "make -f test/unit/unit.mk unit" from the top directory does the same.

PG_CONFIG    ?= pg_config
CURL_CONFIG  ?= curl-config
FUZZ_CC      ?= clang
FUZZ_SECONDS ?= 20

UNIT_BUILD = test/unit/build
FUZZ_BUILD = test/fuzz/build
UNIT_PURE  = $(addprefix src/,json.c fal.c objection.c output.c storage.c hosts.c hook.c wire.c state.c backoff.c breaker.c kind.c track.c container.c media.c ring.c flow.c poller.c signature.c)
UNIT_TESTS = $(wildcard test/unit/*.c)
FUZZ_NAMES = $(patsubst test/fuzz/fuzz_%.c,%,$(wildcard test/fuzz/fuzz_*.c))

# -isystem, since Postgres' headers may be written for another compiler than ours;
# -O1 keeps the sanitizers' reports readable; USE_PRIVATE_ENCODING_FUNCS: the names that libpgcommon.a has in newer majors
UNIT_CPPFLAGS = -DFRONTEND -DUSE_PRIVATE_ENCODING_FUNCS -Isrc -isystem $(shell $(PG_CONFIG) --includedir-server) $(shell $(CURL_CONFIG) --cflags)
UNIT_CFLAGS   = -std=gnu11 -g -O1 -fno-omit-frame-pointer -Wall -Wextra -Werror
UNIT_LIBS     = -L$(shell $(PG_CONFIG) --pkglibdir) -L$(shell $(PG_CONFIG) --libdir) -lpgcommon -lpgport \
				$(shell $(CURL_CONFIG) --libs) -lcrypto -lpthread -lm

.PHONY: unit fuzz $(FUZZ_NAMES:%=fuzz-%)

unit: $(UNIT_BUILD)/test_protocol ## test the protocol files under sanitizers, without a server
	$<

$(UNIT_BUILD)/test_protocol: $(UNIT_TESTS) $(UNIT_PURE) $(wildcard src/*.h test/unit/*.h)
	@mkdir -p $(@D)
	$(CC) $(UNIT_CPPFLAGS) $(UNIT_CFLAGS) -fsanitize=address,undefined -fno-sanitize-recover=all \
		-o $@ $(UNIT_TESTS) $(UNIT_PURE) $(UNIT_LIBS)

fuzz: $(FUZZ_NAMES:%=fuzz-%) ## fuzz the protocol files, FUZZ_SECONDS each

# new findings go to the build directory, the seeds stay as they are
$(FUZZ_NAMES:%=fuzz-%): fuzz-%: $(FUZZ_BUILD)/fuzz_%
	@mkdir -p $(FUZZ_BUILD)/corpus/$*
	$< -max_total_time=$(FUZZ_SECONDS) -max_len=4096 -verbosity=0 -print_final_stats=1 \
		-artifact_prefix=$(FUZZ_BUILD)/$*- $(FUZZ_BUILD)/corpus/$* test/fuzz/corpus/$*

$(FUZZ_BUILD)/fuzz_%: test/fuzz/fuzz_%.c test/fuzz/fuzz.h $(UNIT_PURE) $(wildcard src/*.h)
	@mkdir -p $(@D)
	$(FUZZ_CC) $(UNIT_CPPFLAGS) $(UNIT_CFLAGS) -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
		-o $@ $< $(UNIT_PURE) $(UNIT_LIBS)
