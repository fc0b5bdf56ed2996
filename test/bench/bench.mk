# Included by the Makefile: what vibevideo costs beside what else there is.
# See the head of test/bench/run.sh for BENCH, BENCH_SCALE and the like.
.PHONY: bench

bench: ## measure beside the alternatives; BENCH and BENCH_SCALE choose
	@test/bench/run.sh
