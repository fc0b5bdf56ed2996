#!/bin/bash
# "make test": builds and installs into a copy of the server, then runs every
# suite as an unprivileged user, and ends with one line that counts.
#
#   make test [SUITES="unit tap"] [PROVE_TESTS=test/t/001_x.pl] [PG_CONFIG=…]
#             [TAP_JOBS=1] [VIBETEST_FRONT=plain] [BROWSER_TESTS=test/browser/a.test.mjs]
#
# So many TAP files run side by side, two by default: they mostly wait.
# Suites: docs unit regress isolation tap clients web browser; .ci/run adds format
# lint warnings fuzz.  All run even if one fails.  On failure the workspace is kept.
# BROWSER_SHOTS=DIR takes the screenshots of the browser, BROWSER_HISTORY=1000000 puts
# so many ended jobs behind its page.
set -uo pipefail
# shellcheck source=test/common.sh
. "$(dirname "$0")/common.sh"

SUITES=${SUITES:-docs unit regress isolation tap clients web browser}
KEEP_VARIABLES=(BOOKS_SEED BOOKS_STEPS TILLS_SEED TILLS_STEPS SUITES PROVE_TESTS TAP_JOBS VIBETEST_FRONT FUZZ_SECONDS FUZZ_CC CHAOS_SECONDS CHAOS_SEED CHAOS_ROWS CHAOS_CLIENTS CHAOS_BATCH CHAOS_HOLD CHAOS_CALM PLANS_SEED PLANS_ROUNDS BROWSER_TESTS BROWSER_HISTORY)
unset MAKEFLAGS MAKELEVEL MFLAGS

# ------------------------------------------------------------------ outside

wants()
{
	[[ " $SUITES " == *" $1 "* ]]
}

# The browser's pictures are kept for people to look at.
keep_shots()
{
	[ -n "${BROWSER_SHOTS:-}" ] && [ -d "$WORK/screenshots" ] || return 0
	mkdir -p "$BROWSER_SHOTS"
	cp --no-preserve=ownership "$WORK"/screenshots/* "$BROWSER_SHOTS/"
	echo "The screenshots are in $BROWSER_SHOTS"
}

outside()
{
	local status=0

	"$TOP/test/setup.sh" test || exit
	make_workspace test
	if wants clients && ! (fetch_packages test/clients); then
		touch "$WORK/no-clients"
	fi
	if (wants web || wants browser) && ! (fetch_packages web && build_element); then
		touch "$WORK/no-web" "$WORK/no-browser"
	fi
	if wants browser && ! (fetch_packages test/browser); then
		touch "$WORK/no-browser"
	fi
	in_workspace test/run.sh --inside || status=$?
	keep_shots
	finish_workspace "$status"
}

# ------------------------------------------------------------------- inside

# Every suite writes its output to a log and leaves in passed and failed what
# it counted; its function's status is the suite's.

# matches PATTERN FILE: how many lines
matches()
{
	grep -cE -- "$1" "$2"
}

run_make()
{
	make --no-print-directory PG_CONFIG="$PG_CONFIG" "$@" 2>&1
}

suite_unit()
{
	run_make unit | tee "$log" | sed -E 's/^[0-9]+ passed, /unit: &/'
	local status=${PIPESTATUS[0]}
	passed=$(sed -nE 's/^([0-9]+) passed, [0-9]+ failed$/\1/p' "$log")
	failed=$(sed -nE 's/^[0-9]+ passed, ([0-9]+) failed$/\1/p' "$log")
	return "$status"
}

# PostgreSQL 15's pg_regress has lines of its own, later ones print TAP
suite_pg_regress()
{
	run_make installcheck TAP_TESTS= "$1=" | tee "$log"
	local status=${PIPESTATUS[0]}
	passed=$(matches '^(ok [0-9]+ |test .*\.\.\. ok |     .*\.\.\. ok )' "$log")
	failed=$(matches '^(not ok [0-9]+ |.* \.\.\. .*FAILED)' "$log")
	if [ "$status" != 0 ]; then
		cp regression.diffs "${log%.log}.diffs" && tail -n 200 regression.diffs
	fi
	return "$status"
}

suite_regress()
{
	suite_pg_regress ISOLATION
}

suite_isolation()
{
	suite_pg_regress REGRESS
}

# These keep both processors busy by themselves: they run alone.
TAP_ALONE=(test/t/004_copy.pl test/t/110_chaos.pl test/t/210_resumable.pl test/t/211_s3.pl test/t/214_host_limit.pl test/t/245_stalls.pl)

# The others, those that take longest first, so that none of these is left at
# the end.
tap_side_by_side()
{
	local first=(test/t/101_unknown.pl test/t/260_http2.pl test/t/100_journal.pl)

	printf '%s\n' "${TAP_ALONE[@]}" "${first[@]}" test/t/*.pl | awk '!seen[$0]++' | tail -n +$((${#TAP_ALONE[@]} + 1)) | paste -sd' '
}

# run_tap JOBS FILE...: adds to the log
run_tap()
{
	# diagnostics come on stderr, which is not touched
	make --no-print-directory PG_CONFIG="$PG_CONFIG" installcheck REGRESS= ISOLATION= \
		PROVE_FLAGS="-I test/perl --verbose --timer --nocolor -j $1" PROVE_TESTS="${*:2}" |
		tee -a "$log" | grep --line-buffered -E '^[^ #].*\.pl |^ *not ok|^(ok|Dubious|Failed|Files|Result)|^  [^ ]' |
		grep --line-buffered -vE '^ok [0-9]'
	return "${PIPESTATUS[0]}"
}

# Shows a line a file and what goes wrong; the log has every test.
suite_tap()
{
	local status=0

	if [ -n "${PROVE_TESTS:-}" ]; then
		# shellcheck disable=SC2086
		run_tap "${TAP_JOBS:-2}" $PROVE_TESTS || status=$?
	else
		# shellcheck disable=SC2046
		run_tap "${TAP_JOBS:-2}" $(tap_side_by_side) || status=$?
		# the next run would remove its logs
		rm -rf tmp_check_side_by_side
		mv tmp_check tmp_check_side_by_side
		run_tap 1 "${TAP_ALONE[@]}" || status=$?
	fi
	passed=$(matches '^ok [0-9]+' "$log")
	passed=$((passed - $(matches '^ok [0-9]+ .*# skip' "$log")))
	failed=$(matches '^not ok [0-9]+' "$log")
	failed=$((failed - $(matches '^not ok [0-9]+ .*# TODO' "$log")))
	return "$status"
}

# run_node SUITE ARGUMENT...: tests of node, whose packages npm may have lacked
run_node()
{
	local status

	if [ -e "$WORK/no-$1" ]; then
		tail -n 20 "$WORK/npm.log" 2>/dev/null
		note="npm could not install or build what it needs"
		[ -n "${CI:-}" ] && return 1
		skipped=yes
		return 0
	fi
	node --test --test-reporter=tap "${@:2}" 2>&1 | tee "$log" | grep --line-buffered -E '^ *(not ok|# (tests|pass|fail))'
	status=${PIPESTATUS[0]}
	passed=$(sed -nE 's/^# pass ([0-9]+)$/\1/p' "$log")
	failed=$(sed -nE 's/^# (fail|cancelled) ([0-9]+)$/\2/p' "$log" | paste -sd+ | sed 's/^$/0/')
	failed=$((failed))
	if [ "$status" != 0 ]; then
		grep -B1 -A25 -E '^ *not ok' "$log" | tail -n 200
	fi
	return "$status"
}

suite_clients()
{
	run_node clients test/clients/*.test.mjs
}

suite_web()
{
	run_node web web/element/test/*.test.mjs web/dashboard/check.test.mjs
}

# a world each, beside each other: they mostly wait
suite_browser()
{
	# shellcheck disable=SC2086
	run_node browser --test-concurrency=2 --test-timeout=900000 ${BROWSER_TESTS:-test/browser/*.test.mjs}
}

# -- what .ci/run adds; each counts things of its own kind

# check NAME COMMAND...: one test, with its output
check()
{
	if "${@:2}" >"$WORK/check.log" 2>&1; then
		passed=$((passed + 1))
		echo "ok $1"
	else
		failed=$((failed + 1))
		echo "not ok $1"
		tail -n 60 "$WORK/check.log"
	fi
}

# the documents must say what the code does: names, defaults, errors, states
suite_docs()
{
	local status

	perl test/docs/check_docs.pl >"$log"
	status=$?
	grep -E '^not ok' "$log"
	passed=$(matches '^ok [0-9]+' "$log")
	failed=$(matches '^not ok [0-9]+' "$log")
	return "$status"
}

suite_format()
{
	local file

	for file in src/*.[ch] test/unit/*.[ch] test/fuzz/*.[ch] test/modules/*.c test/bench/*.c; do
		check "$file" clang-format --dry-run -Werror "$file"
	done
}

suite_lint()
{
	local file

	for file in test/*.sh test/demo/*.sh test/bench/*.sh test/browser/*.sh .ci/run; do
		check "$file" shellcheck -x "$file"
	done
	for file in test/emulator/*.mjs test/emulator/lib/*.mjs test/demo/*.mjs test/clients/*.mjs test/bench/*.mjs test/bench/*/*.mjs test/browser/*.mjs test/browser/lib/*.mjs web/element/*.mjs web/element/*/*.mjs; do
		check "$file" node --check "$file"
	done
	check META.json node -e 'JSON.parse(require("fs").readFileSync("META.json"))'
}

# build_strictly COMPILER FLAGS: the sources in a copy each, so that
# no object of another compiler is used.
build_strictly()
{
	local copy
	copy=$(mktemp -d "$WORK/strict-XXXXXX") || return
	copy_tree . "$copy"
	make -C "$copy" -j"$(nproc)" PG_CONFIG="$PG_CONFIG" CC="$1" COPT="-Werror $2" all
}

suite_warnings()
{
	check 'gcc -Werror' build_strictly gcc ''
	# the server's headers and makefiles were made for gcc
	check 'clang -Werror' build_strictly clang \
		'-Dgnu_printf=__printf__ -Wno-unknown-warning-option -Wno-ignored-optimization-argument'
}

suite_fuzz()
{
	local name

	for name in test/fuzz/fuzz_*.c; do
		name=${name#test/fuzz/fuzz_}
		check "fuzz ${name%.c}" run_make "fuzz-${name%.c}" FUZZ_SECONDS="${FUZZ_SECONDS:-5}"
	done
}

# ---------------------------------------------------------------- the frame

table=''
total_passed=0
total_failed=0

# row NAME SECONDS: adds a suite to the table and the sums
row()
{
	total_passed=$((total_passed + passed))
	total_failed=$((total_failed + failed))
	table+=$(printf '%-12s %8d %8d %7ds  %s' "$1" "$passed" "$failed" "$2" "$note")$'\n'
}

# run NAME COMMAND...: one suite; a failure that nobody counted is one
run()
{
	local name=$1 start=$SECONDS status=0

	passed=0 failed=0 note='' skipped=''
	log=$WORK/$name.log
	printf '\n== %s\n' "$name"
	: >"$log"
	"${@:2}" || status=$?
	passed=${passed:-0} failed=${failed:-0}
	if [ "$status" != 0 ] && [ "$failed" = 0 ]; then
		failed=1
		note=${note:-failed, see above}
	elif [ -z "$skipped" ] && [ "$((passed + failed))" = 0 ]; then
		failed=1
		note='no test ran'
	elif [ -n "$skipped" ]; then
		note="skipped: $note"
	fi
	row "$name" $((SECONDS - start))
}

build()
{
	run_make -j"$(nproc)" all >"$log" && run_make install >>"$log" && return
	cat "$log"
	return 1
}

# true if the suites need the extension installed
needs_install()
{
	wants regress || wants isolation || wants tap || wants browser
}

inside()
{
	local suite start=$SECONDS

	trap 'trap - INT TERM HUP; end_processes 1; exit 130' INT TERM HUP
	echo "$("$PG_CONFIG" --version), user $(id -un), $WORK"
	if needs_install; then
		passed=0 failed=0 note='' log=$WORK/build.log
		if ! build; then
			failed=1
			row build $((SECONDS - start))
			# whatever the server's copy brought along is not what is to be tested
			SUITES=" $SUITES "
			for suite in regress isolation tap browser; do SUITES=${SUITES/ $suite / }; done
		fi
	fi
	for suite in $SUITES; do
		if ! declare -F "suite_$suite" >/dev/null; then
			passed=0 failed=1 note='there is no such suite'
			row "$suite" 0
		else
			run "$suite" "suite_$suite"
		fi
	done
	if ! end_processes 50; then
		passed=0 failed=1 note='processes were left running'
		row leftovers 0
	fi

	printf '\n%-12s %8s %8s %8s\n%s' suite passed failed time "$table"
	printf '\n%d passed, %d failed\n' "$total_passed" "$total_failed"
	[ "$total_failed" = 0 ]
}

if [ "${1:-}" = --inside ]; then
	inside
else
	outside
fi
