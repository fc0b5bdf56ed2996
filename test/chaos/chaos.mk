# "make chaos": the chaos test alone, for as long as asked and from a seed that
# an earlier run printed.  Installs nothing: "make install" first.
#   make chaos SECONDS=600 SEED=12345 ROWS=2000 CLIENTS=12

.PHONY: chaos

chaos:
	CHAOS_SECONDS='$(SECONDS)' CHAOS_SEED='$(SEED)' CHAOS_ROWS='$(ROWS)' CHAOS_CLIENTS='$(CLIENTS)' \
		$(MAKE) prove-chaos

.PHONY: prove-chaos
prove-chaos:
	rm -rf '$(CURDIR)'/tmp_check
	$(MKDIR_P) '$(CURDIR)'/tmp_check
	$(if $(prove_installcheck),$(patsubst test/t/%.pl,%,$(prove_installcheck)),false)
