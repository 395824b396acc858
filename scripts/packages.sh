# shellcheck shell=bash
# To be sourced: functions that install Debian and Ubuntu packages and run commands without output.

# Runs a command without output; if it fails, prints its output.
quietly() {
  local log status=0
  log=$(mktemp)
  "$@" >"$log" 2>&1 || status=$?
  if ((status != 0)); then
    cat "$log" >&2
  fi
  rm -f "$log"
  return "$status"
}

is_installed() {
  [[ $(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null) == installed ]]
}

# ensure_packages PACKAGE...: installs missing packages, or ends the script.
ensure_packages() {
  local package missing=() as_root=()
  if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    echo "this is not Debian or Ubuntu; install what these packages hold, then use" \
      "'cmake --preset release' and 'cmake --build --preset release': $*" >&2
    exit 1
  fi
  for package in "$@"; do
    is_installed "$package" || missing+=("$package")
  done
  ((${#missing[@]} > 0)) || return 0
  if ((EUID != 0)); then
    if ! command -v sudo >/dev/null; then
      echo "as root, run: apt-get install ${missing[*]}" >&2
      exit 1
    fi
    as_root=(sudo)
  fi
  echo "installing ${missing[*]}" >&2
  local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive
    apt-get -qq -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0)
  if ! quietly "${apt[@]}" update ||
    ! quietly "${apt[@]}" install -y --no-install-recommends "${missing[@]}"; then
    echo "apt-get cannot install them" >&2
    exit 1
  fi
}
