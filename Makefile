# vibevideo: rows become AI videos.  "make demo" and "make test" install all they need.
EXTENSION    = vibevideo
EXTVERSION   = 0.2.0
MODULE_big   = vibevideo
OBJS         = $(patsubst %.c,%.o,$(sort $(wildcard src/*.c)))

SQL_PARTS    = sql/schema.sql sql/inputs.sql sql/prices.sql sql/delivered.sql sql/errands.sql sql/syncing.sql sql/api.sql sql/attach.sql sql/decisions.sql sql/limits.sql sql/costs.sql sql/rollup.sql sql/models.sql sql/why.sql sql/realtime.sql sql/operations.sql sql/access.sql sql/erasure.sql sql/acts.sql sql/looking.sql sql/account.sql sql/ledger.sql sql/limit_use.sql sql/dashboard.sql sql/grants.sql
DATA         = $(wildcard sql/*--*--*.sql)
DATA_built   = sql/$(EXTENSION)--$(EXTVERSION).sql
DOCS         = doc/vibevideo.md

PG_CONFIG   ?= pg_config
CURL_CONFIG ?= curl-config
PG_CPPFLAGS  = -DVIBEVIDEO_VERSION='"$(EXTVERSION)"' $(shell $(CURL_CONFIG) --cflags)
PG_CFLAGS    = -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers
SHLIB_LINK   = $(shell $(CURL_CONFIG) --libs) -lcrypto
override with_llvm = no

REGRESS        = $(patsubst test/sql/%.sql,%,$(wildcard test/sql/*.sql))
REGRESS_OPTS   = --inputdir=test --temp-config=test/regress.conf --temp-instance=./tmp_regress
ISOLATION      = $(patsubst test/specs/%.spec,%,$(wildcard test/specs/*.spec))
ISOLATION_OPTS = --inputdir=test --outputdir=. --temp-config=test/regress.conf --temp-instance=./tmp_regress
ENCODING       = UTF8
TAP_TESTS      = 1
PROVE_TESTS    = test/t/*.pl
EXTRA_CLEAN    = tmp_check tmp_check_side_by_side tmp_regress output_iso log results regression.out regression.diffs \
				 test/unit/build test/fuzz/build

# what to do next, printed only for a bare "make"
all: sql/$(EXTENSION)--$(EXTVERSION).sql
ifeq ($(filter-out all,$(MAKECMDGOALS)),)
	@echo "vibevideo is built for $$($(PG_CONFIG) --version). Next: make install (as root), add vibevideo to"
	@echo "shared_preload_libraries, restart, CREATE EXTENSION vibevideo; see README.md. make help lists the targets."
endif

install: ## install it into the server that PG_CONFIG names

sql/$(EXTENSION)--$(EXTVERSION).sql: $(SQL_PARTS)
	cat $^ > $@

# these install what they need, including PostgreSQL, and work in a copy
WORK_ALONE = help setup test demo ci bench console
.PHONY: $(WORK_ALONE) format

help: ## list the targets
	@echo 'make              build the extension'
	@sed -nE 's/^([a-z]+):[^#]*## (.*)/make \1@\2/p' Makefile $(wildcard test/*/*.mk) | awk -F@ '{ printf "%-17s %s\n", $$1, $$2 }'

setup: ## install what the tests need, with apt
	test/setup.sh

test: ## run all suites; SUITES="unit tap" and PROVE_TESTS=test/t/001_pipeline.pl choose
	@test/run.sh

demo: ## show it in action, with stand-ins for fal.ai and Storage; KEEP=1 stays up
	@test/demo/run.sh

ci: ## run what CI runs
	.ci/run

console: ## psql with short views of a database's jobs; PGHOST, PGDATABASE and so on say where
	@PSQLRC=sql/console.sql psql

-include test/bench/bench.mk

format: ## run clang-format
	clang-format -i $(wildcard src/*.[ch] test/unit/*.[ch] test/fuzz/*.[ch] test/modules/*.c test/bench/*.c)

ifneq ($(filter-out $(WORK_ALONE),$(or $(MAKECMDGOALS),all)),)

PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

PROVE_FLAGS += -I test/perl

# the dashboard's page is built with node, and kept beside its source: here it is only copied
.PHONY: install-files uninstall-files
install: install-files
install-files:
	$(MKDIR_P) '$(DESTDIR)$(datadir)/$(EXTENSION)'
	$(INSTALL_DATA) sql/console.sql $(wildcard web/dist/dashboard.html) '$(DESTDIR)$(datadir)/$(EXTENSION)/'
uninstall: uninstall-files
uninstall-files:
	rm -rf '$(DESTDIR)$(datadir)/$(EXTENSION)'

# every object depends on every header and, for the version, on this file: rebuilding is cheap, a stale object is not
$(OBJS): $(wildcard src/*.h) Makefile

-include test/unit/unit.mk
-include test/chaos/chaos.mk

endif
