# Shared by the scripts of test/: finding PostgreSQL, and a workspace under
# /tmp that the unprivileged user owns.  Sourced by bash.
# shellcheck shell=bash

# apt's and PostgreSQL's administrative programs may be outside a user's path
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
export LANG=C.UTF-8 LC_ALL=C.UTF-8

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

die()
{
	echo "${0##*/}: $*" >&2
	exit 1
}

# The pg_config to use: $PG_CONFIG, else the newest that can build extensions.
find_pg_config()
{
	local candidate

	for candidate in "${PG_CONFIG:-pg_config}" $(ls -rv /usr/lib/postgresql/*/bin/pg_config 2>/dev/null); do
		if candidate=$(command -v "$candidate") && [ -e "$("$candidate" --pgxs 2>/dev/null)" ]; then
			echo "$candidate"
			return 0
		fi
		if [ -n "${PG_CONFIG:-}" ]; then
			break
		fi
	done
	return 1
}

# PostgreSQL refuses to run as root.
server_user()
{
	if [ "$(id -u)" != 0 ]; then
		id -un
	elif id postgres >/dev/null 2>&1; then
		echo postgres
	else
		echo nobody
	fi
}

# Sources only: what was built here may be for another server or compiler.  The
# packages of web/ are large, and few need them.
copy_tree()
{
	local status=0

	mkdir -p "$2"
	tar -C "$1" --exclude=./.git --exclude=./demo --exclude=./results --exclude=./log --exclude='./tmp_*' \
		--exclude='./output_iso' --exclude=./web/node_modules --exclude='./test/*/build' --exclude='*.o' --exclude='*.bc' --exclude='*.so' \
		-cf - . | tar -C "$2" --no-same-owner -xf - || status=$?
	# the install script is built, those of upgrades are not
	find "$2/sql" -name '*--*.sql' ! -name '*--*--*.sql' -delete || status=$?
	return "$status"
}

# A copy of the server to install into, so that the system's stays as it is.
# PostgreSQL finds its files relative to the place of its programs.
copy_server()
{
	local pg_config=$1 to=$2 libdir dir
	libdir=$("$pg_config" --libdir)

	for dir in "$("$pg_config" --bindir)" "$("$pg_config" --sharedir)" "$("$pg_config" --pkglibdir)"; do
		case $dir in
			"$libdir"/*) dir=$libdir ;;
		esac
		mkdir -p "$to${dir%/*}"
		cp -a --no-preserve=ownership "$dir" "$to${dir%/*}/"
	done
	for dir in "$libdir" "$("$pg_config" --includedir)" "$("$pg_config" --includedir-server)"; do
		if ! [ -e "$to$dir" ]; then
			mkdir -p "$to${dir%/*}"
			ln -s "$dir" "$to$dir"
		fi
	done
	echo "$to$("$pg_config" --bindir)/pg_config"
}

# Makes the workspace $WORK: tree/, server/, tmp/.  Sets PG_CONFIG to the copy's.
make_workspace()
{
	local pg_config
	pg_config=$(find_pg_config) || die "no pg_config with the server's build files found; run test/setup.sh"

	WORK=$(mktemp -d "/tmp/vibevideo-$1-XXXXXX")
	mkdir "$WORK/tmp"
	copy_tree "$TOP" "$WORK/tree"
	PG_CONFIG=$(copy_server "$pg_config" "$WORK/server")
}

# fetch_packages FOLDER: of the workspace's tree, from npm, which needs the invoker's
# settings; those that the checkout has already are copied.
fetch_packages()
{
	cd "$WORK/tree/$1" || return
	if ! [ -e node_modules ] && [ -d "$TOP/$1/node_modules" ]; then
		cp -a --no-preserve=ownership "$TOP/$1/node_modules" .
	fi
	npm ls >/dev/null 2>&1 && return
	npm ci --ignore-scripts --no-audit --no-fund >>"$WORK/npm.log" 2>&1
}

# the component, which is not committed as it is built
build_element()
{
	cd "$WORK/tree/web" && npm run build -w element >>"$WORK/npm.log" 2>&1
}

# Runs a script of the copied tree as the unprivileged user, with a clean
# environment but for $KEEP_VARIABLES; waits for it and hands on signals to all
# of its process group.
in_workspace()
{
	local status=0 child

	if [ "$(id -u)" = 0 ]; then
		chown -R "$(server_user):" "$WORK"
	fi
	set -m
	become "$@" </dev/null &
	set +m
	child=$!
	trap 'kill -TERM -- "-$child" 2>/dev/null' INT TERM HUP
	while kill -0 "$child" 2>/dev/null; do
		status=0
		wait "$child" || status=$?
	done
	trap - INT TERM HUP
	return "$status"
}

# For a subshell.  Nothing secret goes through the command line.
become()
{
	local name user
	local -a setpriv=()

	for name in $(compgen -e); do
		case " PATH LANG LC_ALL TERM CI CC PG_CONFIG WORK ${KEEP_VARIABLES[*]} " in
			*" $name "*) ;;
			*) unset "$name" ;;
		esac
	done
	export PG_CONFIG WORK HOME="$WORK/tmp" TMPDIR="$WORK/tmp"
	if [ "$(id -u)" = 0 ]; then
		user=$(server_user)
		setpriv=(setpriv "--reuid=$user" "--regid=$(id -g "$user")" --init-groups)
	fi
	cd "$WORK/tree" || exit
	exec "${setpriv[@]}" bash "$@"
}

# finish_workspace STATUS: exits; after a failure what may explain it is kept
finish_workspace()
{
	case $1 in
		0 | 130 | 143) rm -rf "$WORK" ;;
		*) echo "Logs are kept in $WORK" ;;
	esac
	exit "$1"
}

# Processes that work inside $WORK, except this shell; all that we start do.
workspace_processes()
{
	local process

	for process in /proc/[0-9]*; do
		case $(readlink "$process/cwd" 2>/dev/null) in
			"$WORK" | "$WORK"/*)
				if [ "${process#/proc/}" != $$ ] && [ "${process#/proc/}" != "$BASHPID" ]; then
					echo "${process#/proc/}"
				fi
				;;
		esac
	done
}

# end_processes TENTHS: waits so long for them to end, then ends them; false if
# it had to.
end_processes()
{
	local tries left

	for ((tries = 0; tries < $1; tries++)); do
		left=$(workspace_processes)
		[ -n "$left" ] || return 0
		sleep 0.1
	done
	for signal in QUIT TERM KILL; do
		for process in $left; do
			kill "-$signal" "$process" 2>/dev/null || true
		done
		sleep 1
		left=$(workspace_processes)
		[ -n "$left" ] || break
	done
	return 1
}
