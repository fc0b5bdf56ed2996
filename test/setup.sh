#!/bin/bash
# Installs what is missing to build, test and show vibevideo on Debian 12 or 13
# (or another system with apt and these packages); does nothing if all is there.
#
#   test/setup.sh [build] [test] [demo] [keep] [ci]    default: test demo
#
# Uses sudo if not run as root.  PG_CONFIG=/usr/lib/postgresql/17/bin/pg_config
# asks for that major version; without it any one that is there will do, else
# the system's default.
set -euo pipefail
# shellcheck source=test/common.sh
. "$(dirname "$0")/common.sh"

missing=()

# need PACKAGE COMMAND...: the package is missing if the command fails
need()
{
	local package=$1
	shift
	"$@" >/dev/null 2>&1 || missing+=("$package")
}

postgres_major()
{
	local of_path='^/usr/lib/postgresql/([0-9]+)/'

	if [[ ${PG_CONFIG:-} =~ $of_path ]]; then
		echo "${BASH_REMATCH[1]}"
	elif pg_config=$(find_pg_config); then
		"$pg_config" --version | sed -E 's/^[^0-9]*([0-9]+).*/\1/'
	else
		apt-cache depends postgresql 2>/dev/null | sed -nE 's/.*Depends: postgresql-([0-9]+)$/\1/p' | head -n 1
	fi
}

in_postgres()
{
	local pg_config
	pg_config=$(find_pg_config) && [ -e "$("$pg_config" "--$1")/$2" ]
}

need_build()
{
	need make command -v make
	need gcc command -v "${CC:-gcc}"
	need libc6-dev test -e /usr/include/stdio.h
	need libcurl4-openssl-dev curl-config --libs
	need libssl-dev test -e /usr/include/openssl/evp.h
	need "postgresql-server-dev-$major" in_postgres includedir-server postgres.h
}

need_server()
{
	need_build
	need "postgresql-$major" in_postgres bindir initdb
	need "postgresql-$major-cron" in_postgres sharedir extension/pg_cron.control
	need nodejs command -v node
}

need_test()
{
	need_demo
	need perl command -v prove
	need libipc-run-perl perl -MIPC::Run -e 1
	need libio-socket-ssl-perl perl -MIO::Socket::SSL -e 1
	need nginx-light command -v nginx
	need npm command -v npm
	need ffmpeg command -v ffmpeg
	need openssl command -v openssl
	need chromium command -v chromium
	need fonts-dejavu-core test -e /usr/share/fonts/truetype/dejavu/DejaVuSans.ttf
}

need_demo()
{
	need_server
	need ffmpeg command -v ffprobe
	need fonts-dejavu-core test -e /usr/share/fonts/truetype/dejavu/DejaVuSans.ttf
	need ca-certificates test -e /etc/ssl/certs/ca-certificates.crt
}

need_keep()
{
	need_demo
	need npm command -v npm
}

need_ci()
{
	need_test
	need clang command -v clang
	need libclang-rt-dev has_libfuzzer
	need clang-format command -v clang-format
	need shellcheck command -v shellcheck
}

# Debian 12's meta package for this lives in main as well, but clang 14's own
# name is the one that is always there.
has_libfuzzer()
{
	[ -e "$(clang -print-runtime-dir)/libclang_rt.fuzzer-x86_64.a" ] ||
		[ -e "$(clang -print-runtime-dir)/libclang_rt.fuzzer.a" ] ||
		ls "$(clang -print-resource-dir)"/lib/linux/libclang_rt.fuzzer-*.a
}

look()
{
	local wanted
	missing=()
	major=$(postgres_major)
	for wanted in "$@"; do
		"need_$wanted"
	done
	mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sed '/^$/d' | sort -u)
}

as_root()
{
	if [ "$(id -u)" = 0 ]; then
		env DEBIAN_FRONTEND=noninteractive "$@"
	else
		sudo env DEBIAN_FRONTEND=noninteractive "$@"
	fi
}

# Debian starts a server when it installs one; we start our own and leave
# nothing running, so it is told not to: no cluster for PostgreSQL, and no
# start of a service (nginx).
install_packages()
{
	local switch=/etc/postgresql-common/createcluster.d/vibevideo-setup.conf
	local policy=/usr/sbin/policy-rc.d
	local status=0

	if ! [ -e /etc/postgresql-common/createcluster.conf ]; then
		as_root mkdir -p "${switch%/*}"
		echo 'create_main_cluster = false' | as_root tee "$switch" >/dev/null
	fi
	if [ -e "$policy" ]; then
		policy=
	else
		printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
		as_root chmod +x "$policy"
	fi
	as_root apt-get -qq -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 install -y --no-install-recommends "$@" >"$log" 2>&1 || status=$?
	if [ -n "$policy" ]; then
		as_root rm -f "$policy"
	fi
	if [ -e "$switch" ]; then
		as_root rm -f "$switch"
	fi
	return "$status"
}

[ $# -gt 0 ] || set -- test demo
for profile in "$@"; do
	case $profile in
		build | server | test | demo | keep | ci) ;;
		*) die "unknown set of packages: $profile" ;;
	esac
done

look "$@"
[ ${#missing[@]} -gt 0 ] || exit 0

command -v apt-get >/dev/null || die "please install what these Debian packages hold: ${missing[*]}"
if [ "$(id -u)" != 0 ] && ! sudo -n true 2>/dev/null && ! [ -t 0 ]; then
	die "please have root install these packages: ${missing[*]}"
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
as_root apt-get -qq -o DPkg::Lock::Timeout=300 update >"$log" 2>&1 || cat "$log" >&2
look "$@"
echo "Installing ${missing[*]}" | fold -s -w 79
if ! install_packages "${missing[@]}"; then
	cat "$log" >&2
	die "apt could not install: ${missing[*]}"
fi

look "$@"
[ ${#missing[@]} -eq 0 ] || die "still missing after the installation: ${missing[*]}"
