# Sourced by the scripts beside it: makes .venv, and installs shardd in it, when that has not been done for this setup.cfg.

set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
cd "$root"

fail() {
	printf '%s: %s\n' "${0##*/}" "$1" >&2
	exit 1
}

# The first Python that is new enough.
find_python() {
	for name in python3 python3.14 python3.13 python3.12 python3.11; do
		if command -v "$name" >/dev/null 2>&1 &&
			"$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
			command -v "$name"
			return
		fi
	done
	fail 'Python 3.11 or newer is needed'
}

# ensure EXTRAS: .venv holds this checkout and its extras, such as test,dev; `base` for none
ensure() {
	for tool in git ssh ssh-keygen; do
		command -v "$tool" >/dev/null 2>&1 || fail "$tool is needed: install git and the OpenSSH client"
	done
	want="$1 $(cksum setup.cfg pyproject.toml shardd/version.py | cksum)"
	stamp=.venv/.installed-$(printf %s "$1" | tr , -)
	if [ -x .venv/bin/shardd ] && [ "$(cat "$stamp" 2>/dev/null)" = "$want" ]; then
		return
	fi
	what=".[$1]"
	[ "$1" != base ] || what=.
	printf 'installing into .venv ...\n' >&2
	if ! [ -x .venv/bin/python ] || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
		rm -rf .venv
		"$(find_python)" -m venv .venv || fail 'no virtual environment could be made; on Debian: apt-get install python3-venv'
	fi
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --editable "$what" >.venv/install.log 2>&1 ||
		{ cat .venv/install.log >&2; fail 'the installation failed; see above'; }
	printf %s "$want" >"$stamp"
}
