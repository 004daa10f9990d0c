# Set-up shared by the scripts: a virtual environment with pinned packages, Debian packages, azurite. Sourced, not run.
# A second run only compares stamps and takes milliseconds.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
venv=${COPILOT_VENV:-$root/.venv}
cache=$root/.cache
mkdir -p "$cache"
# copilot starts dozens of times here: it is compiled once, whatever the shell's own habit.
export PYTHONDONTWRITEBYTECODE=
export DO_NOT_TRACK=1 FLYTE_DISABLE_TELEMETRY=1

say() { if [ -t 2 ]; then printf '\033[2m·\033[0m %s\n' "$*" >&2; else printf '· %s\n' "$*" >&2; fi; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

find_python() {
  local candidate
  for candidate in "${PYTHON:-}" python3.11 python3; do
    [ -n "$candidate" ] && command -v "$candidate" >/dev/null 2>&1 || continue
    "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue
    echo "$candidate"; return
  done
  die "no Python 3.11 or newer was found: install python3, or set PYTHON to one"
}

# apt_need COMMAND=PACKAGE ... : installs the packages whose command is missing.
apt_need() {
  local pair missing=()
  for pair in "$@"; do
    command -v "${pair%%=*}" >/dev/null 2>&1 || [ -x "${pair%%=*}" ] || missing+=("${pair#*=}")
  done
  [ ${#missing[@]} -eq 0 ] && return
  command -v apt-get >/dev/null 2>&1 || die "please install: ${missing[*]}"
  [ "$(id -u)" = 0 ] || die "run once as root, or install by hand: apt-get install ${missing[*]}"
  say "installing from Debian: ${missing[*]}"
  { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"; } \
    >"$cache/apt.log" 2>&1 || { tail -n 20 "$cache/apt.log" >&2; die "apt-get failed; the whole log is in .cache/apt.log"; }
}

# python_env LOCK: the virtual environment holds exactly LOCK and this project (editable).
python_env() {
  local lock=$1 stamp want python
  want=$(cat "$lock" pyproject.toml scripts/lib.sh | sha256sum | cut -d' ' -f1)
  stamp=$venv/.copilot-$(basename "$lock" .txt)
  if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$want" ]; then return; fi
  python=$(find_python)
  if [ ! -x "$venv/bin/python" ]; then
    say "creating a virtual environment in ${venv#"$root"/} with $("$python" --version)"
    "$python" -m venv "$venv" 2>/dev/null || { rm -rf "$venv"; apt_need /usr/lib/python3/dist-packages/none=python3-venv; "$python" -m venv "$venv"; }
  fi
  say "installing pinned packages from $lock"
  "$venv/bin/python" -m pip install -q --disable-pip-version-check --require-hashes -r requirements/uv.txt
  "$venv/bin/uv" pip install -q --python "$venv/bin/python" --require-hashes -r "$lock"
  "$venv/bin/uv" pip install -q --python "$venv/bin/python" --no-deps -e .
  echo "$want" >"$stamp"
}

azurite_env() {
  [ -x node_modules/.bin/azurite ] && return
  apt_need node=nodejs npm=npm
  say "installing azurite from npm"
  npm ci --silent --no-audit --no-fund >"$cache/npm.log" 2>&1 || { tail -n 20 "$cache/npm.log" >&2; die "npm failed; see .cache/npm.log"; }
}
