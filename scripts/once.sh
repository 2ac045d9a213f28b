# What is built from Go modules: once, and kept outside of the tree, in ~/.cache/network-agent. To be sourced.

# Not every user's path has Go's own folder.
PATH=$PATH:/usr/local/go/bin

# need_go NAME: exits with 77 where there is no Go.
need_go() {
  command -v go >/dev/null && return
  printf '%s: Go is not here, and it is built from its Go modules: install Go 1.25 or later from https://go.dev/dl\n' "$1" >&2
  exit 77
}

# once NAME [HOW_LONG]: prints where NAME is that was made of what standard input holds, which is all that it depends on. Where
# it is not there yet, the caller's `build PATH` makes it; without HOW_LONG the exit code is 1 instead.
once() {
  local name=$1 how_long=${2:-} key path began=$SECONDS
  key=$({ sha256sum 2>/dev/null || shasum -a 256; } | cut -c 1-16)
  path=${XDG_CACHE_HOME:-$HOME/.cache}/network-agent/$name-$key
  if [ ! -e "$path" ]; then
    [ -n "$how_long" ] || return 1
    mkdir -p "${path%/*}"
    # Of two that build at once, one waits and finds what the other has made.
    if command -v flock >/dev/null; then exec 9>"$path.lock"; flock 9; fi
  fi
  if [ ! -e "$path" ]; then
    printf '%s: building it with %s; this takes %s, once\n' "$name" "$(go env GOVERSION)" "$how_long" >&2
    rm -rf "$path.new"
    build "$path.new" >&2
    mv "$path.new" "$path"
    printf '%s: built in %s s: %s\n' "$name" "$((SECONDS - began))" "$path" >&2
  fi
  printf '%s\n' "$path"
}
