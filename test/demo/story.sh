# What the demo tells, act by act.  Sourced by bash.
# shellcheck shell=bash

# what has been printed of which row
seen=

DAY="to_char(written_on, 'Dy')"
# a job has ended when the app's row says so
ALL_ENDED="SELECT NOT EXISTS (SELECT FROM vibelogs WHERE video_generation_status IN ('queued', 'generating', 'processing'))"

# typed LINE...: one statement as it is typed in psql, and what it returns
typed()
{
	local prompt='app=>' line

	for line in "$@"; do
		printf '  %s %s\n' "$prompt" "$line"
		prompt='app->'
	done
	sql -At -F '  ' -c "$*" | while IFS= read -r line; do hang '  ' "$line"; done
}

# ------------------------------------------------------------------ setting up

add_vibevideo()
{
	heading 'An app has a table, a diary; an operator adds vibevideo to its database'
	sql -f test/demo/vibelogs.sql
	typed 'CREATE EXTENSION vibevideo;'
	typed "SELECT vibevideo.attach('vibelogs', user_column => 'author');"
	# a second safety net, of which the log has a line only if it is needed
	sql -At -c "CREATE EXTENSION pg_cron; SELECT vibevideo.schedule('1 minute')" >/dev/null
}

# The stand-in's videos come over http, of which check_config has to warn.
check()
{
	local expected='' name status detail hint

	[ -n "$REAL" ] || expected=media_hosts
	sql -At -F '|' -c 'SELECT check_name, status, detail, hint FROM vibevideo.check_config()' >"$WORK/checks"
	hang '  ' "vibevideo.check_config(): $(grep -c '^[^|]*|ok|' "$WORK/checks") of $(wc -l <"$WORK/checks") checks are ok."
	while IFS='|' read -r name status detail hint; do
		case "$status $name" in
			ok*) ;;
			"warn $expected") hang '  ' "The other one is about plain http, which only a stand-in may speak." ;;
			*) hang "  $status  $name  " "$detail. $hint" ;;
		esac
	done <"$WORK/checks"
	! grep -q '^[^|]*|fail|' "$WORK/checks" || die 'the configuration is not right, see above'
}

# submit DAY: an author asks for a day's film, and reads what the app gets
submit()
{
	local day author status message

	IFS='|' read -r day author status message < <(
		sql -At -F '|' -c "SELECT $DAY, author, v.status, v.message FROM vibelogs, vibevideo_submit(id) v WHERE written_on = '$1'")
	hang "  $day  $author  $status  " "$message"
	seen+=$'\n'"$1 $status"
	[ -n "$status" ] || die "the submit of $1 failed"
}

# entries FROM TO: what is written there
entries()
{
	local head text

	while IFS='|' read -r head text; do
		hang "  $head  " "$text"
	done < <(sql -At -F '|' -c "SELECT $DAY || '  ' || author, content FROM vibelogs WHERE written_on BETWEEN '$1' AND '$2' ORDER BY written_on")
}

days()
{
	sql -At -c "SELECT written_on FROM vibelogs ORDER BY written_on LIMIT $1"
}

# ------------------------------------------------------------------- following

# show_lines LINE...: on a terminal, each cut to its width
show_lines()
{
	local line columns
	columns=$(stty size 2>/dev/null </dev/tty | cut -d ' ' -f 2) || columns=
	for line in "$@"; do
		printf '%s\e[K\n' "${line:0:${columns:-80}}"
	done
}

# watch_jobs UNTIL [SINCE]: refreshes the table of the days since then in place,
# until the query UNTIL answers t; without a terminal it prints the lines that have
# got further.
watch_jobs()
{
	local -a lines marks shown=()
	local i day mark line over deadline=$((SECONDS + PATIENCE))

	while :; do
		over=$(sql -At -c "$1")
		lines=() marks=()
		while IFS='|' read -r day mark line; do
			lines+=("$line") marks+=("$day $mark")
		done < <(sql -At -F '|' -v since="${2:--infinity}" -f test/demo/watch.sql)
		if [ -t 1 ]; then
			[ ${#shown[@]} = 0 ] || printf '\e[%dA' "${#shown[@]}"
			show_lines "${lines[@]}"
		else
			for i in "${!lines[@]}"; do
				[[ $'\n'$seen$'\n' == *$'\n'"${marks[i]}"$'\n'* ]] || printf '%s\n' "${lines[i]}"
				seen+=$'\n'${marks[i]}
			done
		fi
		shown=("${lines[@]}")
		[ "$over" != t ] || break
		[ "$SECONDS" -lt "$deadline" ] || die "not finished after $PATIENCE seconds"
		sleep 0.3
	done
}

# ------------------------------------------------------------- what goes wrong

# prompt_of DAY: a pattern for the stand-in, which knows rows by their prompts
prompt_of()
{
	sql -At -c "SELECT '^' || left(content, 12) FROM vibelogs WHERE written_on = '$1'"
}

LOST=2026-11-17
LARGE=2026-11-18
REJECTED=2026-11-21
REFUSED=2026-11-22

prepare_trouble()
{
	control fault '{"on": "submit", "prompt": "'"$(prompt_of $LOST)"'", "fault": {"kind": "reset_after"}}'
	control rule '{"prompt": "'"$(prompt_of $LARGE)"'", "behaviour": {"queue_ms": 4000, "media": {"grain": 60}}}'
	control rule '{"prompt": "'"$(prompt_of $REJECTED)"'", "behaviour": {"outcome": "policy"}}'
	# slow enough to be watched; the large one does not get past its middle, until the worker has been killed
	control fault '{"on": "media", "prompt": "'"$(prompt_of $LARGE)"'", "fault": {"kind": "stall", "bytes": 6000000, "bytes_per_s": 1200000}}'
	control fault '{"on": "media", "prompt": "'"$(prompt_of $LARGE)"'", "times": -1, "fault": {"kind": "slow", "bytes_per_s": 1200000}}'
	control fault '{"on": "media", "times": -1, "fault": {"kind": "slow", "bytes_per_s": 24000}}'
}

# The large one is in its middle and the others are there, so that one copy breaks off.
IN_THE_MIDDLE="SELECT bool_and(NOT vibevideo.is_active(j.state) OR written_on = '$LARGE' AND j.bytes_done > 5500000)
	FROM vibevideo.jobs j JOIN vibelogs v ON j.vibelog_id = v.id::text"

kill_worker()
{
	local pid new='' began took deadline

	heading "In the middle of Wednesday's copy the worker is killed, on purpose"
	pid=$(sql -At -c "SELECT pid FROM vibevideo.worker_info()")
	hang '  ' 'PostgreSQL restarts itself when one of its processes is killed this way: every session ends, and for a moment nobody can connect. The jobs are on disk.'
	breath 3
	printf '\n  $ kill -9 %s\n' "$pid"
	began=${EPOCHREALTIME/[.,]/}
	kill -9 "$pid"
	deadline=$((SECONDS + PATIENCE))
	# nobody answers for a moment, as is to be expected
	until new=$(sql -At -c "SELECT pid FROM vibevideo.worker_info() WHERE pid <> $pid" 2>/dev/null) && [ -n "$new" ]; do
		[ "$SECONDS" -lt "$deadline" ] || die 'PostgreSQL has not come back, or no worker'
		sleep 0.05
	done
	took=$(((${EPOCHREALTIME/[.,]/} - began) / 10000))
	# as far as it had come is where it goes on
	seen=${seen//"$LARGE processing 1"/}
	printf '  PostgreSQL was back after %d.%02d s, with a new worker: process %s.\n\n' $((took / 100)) $((took % 100)) "$new"
}

# refuse DAY: the same, over a limit
refuse()
{
	local said row

	row=$(sql -At -c "SELECT $DAY || '  ' || author FROM vibelogs WHERE written_on = '$1'")
	said=$(sql -At -v VERBOSITY=verbose -c "SELECT status FROM vibelogs, vibevideo_submit(id) WHERE written_on = '$1'" 2>&1) && die 'it was not refused'
	REFUSAL=$(sed -n 's/^ERROR:  PT429: //p' <<<"$said")
	[ -n "$REFUSAL" ] || die "it was not over a limit: $said"
	REFUSAL=${REFUSAL^}
	hang "  $row  refused  " "$REFUSAL. $(sed -nE 's/^HINT:  //p' <<<"$said") Nothing was sent."
}

# A day of limits ends at midnight, UTC, and with it what Ana has used up.
wait_for_room_in_the_day()
{
	local left=$((86400 - $(date +%s) % 86400))

	if [ "$left" -lt 120 ]; then
		say "It is almost midnight, UTC, when the limits of a day begin anew: waiting $left seconds for a whole one."
		sleep "$left"
	fi
}

# ------------------------------------------------------------------ the stories

# What has become of the rows, and of those that were refused.
rows_as_json()
{
	sql -At -v refused="${1:-}" <<-'EOF'
		SELECT coalesce(json_agg(json_build_object('day', v.written_on, 'name', to_char(v.written_on, 'FMDay'), 'author', v.author, 'prompt', v.content,
			'status', coalesce(v.video_generation_status, 'refused'), 'url', v.video_url, 'error', coalesce(v.video_generation_error, :'refused'),
			'request_id', j.request_id,
			'lost', EXISTS (SELECT FROM vibevideo.event e WHERE e.job_id = j.job_id AND e.state = 'submit_unknown'), 'sha256', encode(j.sha256, 'hex'), 'price', j.cost_usd) ORDER BY v.written_on), '[]')
		FROM vibelogs v LEFT JOIN vibevideo.job j ON j.vibelog_id = v.id::text
		WHERE j.job_id IS NOT NULL OR :'refused' <> ''
	EOF
}

# One row or several become films, and nothing goes wrong.
tell_plain_story()
{
	local day

	add_vibevideo
	check
	heading "Submitting $ROWS row(s): SELECT vibevideo_submit(id)"
	for day in $(days "$ROWS"); do
		entries "$day" "$day"
		submit "$day"
	done
	heading 'Following them'
	watch_jobs "$ALL_ENDED"
	heading 'The files, read from their public URLs'
	rows_as_json >"$WORK/rows.json"
	node test/demo/verify.mjs "$WORK/videos" "$WORK/rows.json"
	node test/demo/sheet.mjs "$WORK/videos" "$WORK/rows.json"
}

# ... and several things go wrong.
tell_story()
{
	local day

	wait_for_room_in_the_day
	add_vibevideo
	typed 'INSERT INTO vibevideo.limit (scope, submits_per_day, spend_per_day_usd)' "VALUES ('default', 3, NULL), ('global', NULL, 25);"
	check
	prepare_trouble

	heading 'Five days of the diary'
	entries 2026-11-16 2026-11-20
	heading 'Each is to become a film: SELECT vibevideo_submit(id)'
	hang '  ' "On purpose fal.ai's answer to Tuesday's gets lost on the way: fal.ai has the request, and vibevideo cannot know that."
	echo
	for day in $(days 5); do submit "$day"; done
	breath 3

	heading 'Their progress; fal.ai renders two at a time'
	watch_jobs "$IN_THE_MIDDLE"
	kill_worker
	watch_jobs "$ALL_ENDED"
	take_stock
	node test/demo/bill.mjs trouble "$WORK/rows.json" "$WORK/videos/ledger.json"
	breath 3

	heading "Saturday's is rejected by the model"
	entries $REJECTED $REJECTED
	submit $REJECTED
	watch_jobs "$ALL_ENDED" $REJECTED
	hang '  Ben reads: ' "$(sql -At -c "SELECT v.message FROM vibelogs, vibevideo_status(id) v WHERE written_on = '$REJECTED'")"
	breath 2

	heading "Sunday's is one too many for Ana, who may request three a day"
	entries $REFUSED $REFUSED
	refuse $REFUSED
	echo
	typed 'SELECT who, limit_name, used, most FROM vibevideo.limit_use;'
	breath 2

	heading 'The bill, from what the stand-in for fal.ai has noted (demo/ledger.json)'
	take_stock "$REFUSAL"
	node test/demo/bill.mjs bill "$WORK/rows.json" "$WORK/videos/ledger.json" "$(costs)"
	echo
	hang '  ' "fal.ai's own bill, which vibevideo reads with a key of scope ADMIN, and its books beside it:"
	sql -c 'SELECT vibevideo.sync_usage()' >/dev/null
	typed 'SELECT ours_usd, fal_usd, difference_usd FROM vibevideo.ledger;'

	heading 'The files, read from their public URLs'
	node test/demo/verify.mjs "$WORK/videos" "$WORK/rows.json" "$WORK/videos/ledger.json" "$STORAGE"
	node test/demo/sheet.mjs "$WORK/videos" "$WORK/rows.json" "$WORK/videos/ledger.json"
}

# take_stock [REFUSAL]: what the rows say, and what fal.ai was asked for
take_stock()
{
	mkdir -p "$WORK/videos"
	rows_as_json "$@" >"$WORK/rows.json"
	node test/demo/ledger.mjs "$FAL" >"$WORK/videos/ledger.json"
}

# what vibevideo itself says of the costs, by user
costs()
{
	sql -At -c "SELECT json_object_agg(user_id, settled_usd) FROM (SELECT user_id, sum(settled_usd) AS settled_usd FROM vibevideo.costs GROUP BY 1) c"
}
