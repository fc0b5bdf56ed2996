# "make chaos": the chaos test alone, for as long as asked and from a seed that
# an earlier run printed.  It tests what is installed, and like all of
# PostgreSQL's tests it cannot run as root.
#   make chaos SECONDS=600 SEED=12345 ROWS=2000 CLIENTS=12 HOLD=5

.PHONY: chaos

chaos: PROVE_TESTS = test/t/110_chaos.pl
chaos: export CHAOS_SECONDS = $(SECONDS)
chaos: export CHAOS_SEED = $(SEED)
chaos: export CHAOS_ROWS = $(ROWS)
chaos: export CHAOS_CLIENTS = $(CLIENTS)
chaos: export CHAOS_HOLD = $(HOLD)
chaos: ## run the chaos test on what is installed; SECONDS and SEED
	$(prove_installcheck)
