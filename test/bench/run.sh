#!/bin/bash
# "make bench": measures vibevideo beside what a user would take instead, on a
# throw-away server; prints a table and, after a full run, leaves it in
# test/bench/results.md.
#
#   make bench [BENCH="submit queue slow poll history look copy webhook wire soak"]
#              [BENCH_SCALE=0.1] [BENCH_RUNS=5] [PG_CONFIG=…]
#              [PGSQL_HTTP_SRC=…] [PG_NET_SRC=…]
#
# The last two name checkouts of pgsql-http and pg_net; without them these two
# are left out, and the table says so.  BENCH_OUT=FILE takes the table of a
# short or partial run.  For experiments: BENCH_STATEMENTS=1 shows the costly
# statements, BENCH_SETTINGS="name=value;…" sets something in every database.
set -euo pipefail
# shellcheck source=test/common.sh
. "$(dirname "$0")/../common.sh"

KEEP_VARIABLES=(BENCH BENCH_SCALE BENCH_RUNS BENCH_STATEMENTS BENCH_SETTINGS BENCH_COMMIT)
unset MAKEFLAGS MAKELEVEL MFLAGS

# ------------------------------------------------------------------ outside

as_root()
{
	if [ "$(id -u)" = 0 ]; then
		"$@"
	else
		sudo "$@"
	fi
}

# Debian would start an nginx of its own when it installs one.
install_servers()
{
	local missing=() policy=/usr/sbin/policy-rc.d status=0

	command -v nginx >/dev/null || missing+=(nginx-light)
	command -v wrk >/dev/null || missing+=(wrk)
	command -v curl >/dev/null || missing+=(curl)
	[ ${#missing[@]} -gt 0 ] || return 0
	echo "Installing ${missing[*]}"
	as_root apt-get -qq update
	if [ -e "$policy" ]; then
		policy=
	else
		printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
		as_root chmod +x "$policy"
	fi
	as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${missing[@]}" >/dev/null || status=$?
	[ -z "$policy" ] || as_root rm -f "$policy"
	return "$status"
}

# Peers come from npm, which needs the invoker's settings.
fetch_peers()
{
	cd "$WORK/tree/test/bench" || return
	npm ls >/dev/null 2>&1 && return
	npm ci --ignore-scripts --no-audit --no-fund >"$WORK/npm.log" 2>&1
}

# copy_peer NAME SOURCE: to be built by the unprivileged user
copy_peer()
{
	[ -n "$2" ] || return 0
	[ -e "$2/Makefile" ] || die "$2 holds no Makefile"
	mkdir "$WORK/$1"
	tar -C "$2" --exclude=./.git -cf - . | tar -C "$WORK/$1" --no-same-owner -xf -
}

# Where a full run's table goes: only such a one may replace it.
results_file()
{
	if [ -n "${BENCH_OUT:-}" ]; then
		echo "$BENCH_OUT"
	elif [ -z "${BENCH:-}" ] && [ "${BENCH_SCALE:-1}" = 1 ] && [ -z "${BENCH_STATEMENTS:-}${BENCH_SETTINGS:-}" ]; then
		echo "$TOP/test/bench/results.md"
	fi
}

outside()
{
	local status=0 results

	"$TOP/test/setup.sh" test || exit
	install_servers
	BENCH_COMMIT=$(git -C "$TOP" describe --always --dirty 2>/dev/null || echo unknown)
	export BENCH_COMMIT
	make_workspace bench
	(fetch_peers) || tail -n 5 "$WORK/npm.log"
	copy_peer pgsql-http "${PGSQL_HTTP_SRC:-}"
	copy_peer pg_net "${PG_NET_SRC:-}"
	in_workspace test/bench/run.sh --inside || status=$?
	results=$(results_file)
	if [ -n "$results" ] && [ -e "$WORK/results.md" ]; then
		cp --no-preserve=ownership "$WORK/results.md" "$results"
		echo "The table is in $results"
	fi
	finish_workspace "$status"
}

# ------------------------------------------------------------------- inside

quietly()
{
	"$@" >"$WORK/build.log" 2>&1 && return
	tail -n 40 "$WORK/build.log"
	die "this failed: $*"
}

build()
{
	local peer curl_flags

	quietly make -j"$(nproc)" PG_CONFIG="$PG_CONFIG" all
	quietly make PG_CONFIG="$PG_CONFIG" install
	for peer in pgsql-http pg_net; do
		[ -d "$WORK/$peer" ] || continue
		# in two steps: pg_net looks for the script that it makes before it has made it
		quietly make -C "$WORK/$peer" PG_CONFIG="$PG_CONFIG" with_llvm=no all
		quietly make -C "$WORK/$peer" PG_CONFIG="$PG_CONFIG" with_llvm=no HEADERS= install
	done
	read -ra curl_flags <<<"$(curl-config --cflags) $(curl-config --libs)"
	quietly "${CC:-gcc}" -O2 -Wall -o "$WORK/sink" test/bench/sink.c
	quietly "${CC:-gcc}" -O2 -Wall -o "$WORK/posts" test/bench/posts.c "${curl_flags[@]}"
}

inside()
{
	local status=0

	trap 'trap - INT TERM HUP; end_processes 50; exit 130' INT TERM HUP
	echo "$("$PG_CONFIG" --version), user $(id -un), $WORK"
	build
	node test/bench/bench.mjs &
	wait $! || status=$?
	end_processes 50 || true
	return "$status"
}

if [ "${1:-}" = --inside ]; then
	inside
else
	outside
fi
