#!/bin/sh
# Writes users.conf, the users of Ambit's account, to standard output.
#
#   users.sh -c COLLECTOR... [-r READER...] -a AGENT NODE...
#
# Each user is named as its certificate has it (a SPIFFE id, a DNS name, or its subject as RFC 2253 writes it), or is the public key of an nkey.
# AGENT is that of the nodes' agents, where %n stands for the node's token and %N for its name; without either there may be one node only.
#
#   users.sh -callout ISSUER USER...    writes the authorization block with which collectors tell servers who agents are: ISSUER is the public key of
#                                       their nats.auth.issuer_file (A...), USER are all of users.conf, who are known without asking
#   users.sh -token NODE...    says what the tokens are
#   users.sh -role ROLE        says the flags of nsc for agent, collector or reader
set -eu
LC_ALL=C
export LC_ALL

# token is what stands for a node in subjects, where dots separate; as event.NodeToken.
token() {
  hash=$(printf %s "$1" | sha256sum | cut -c1-16)
  clean=$(printf %s "$1" | tr -c 'A-Za-z0-9._-' -)
  if [ -z "$1" ] || [ "$1" = . ] || [ "$1" = .. ] || [ "$clean" != "$1" ] || printf %s "$1" | grep -Eq -- '-[0-9a-f]{16}$'; then
    clean=$(printf %s "$clean" | sed 's/^\.*//; s/\.*$//')-$hash
  fi
  case $clean in
    *.*) clean=$(printf %s "$clean" | tr . -)-$hash ;;
  esac
  printf '%s\n' "$clean"
}

fail() {
  printf 'users.sh: %s\n' "$1" >&2
  exit 2
}

# user writes one user with its permissions.
user() {
  case $1 in
    '' | *[\"\\\$]*) fail "the name of a user, '$1', is empty or holds a quote, \\ or \$" ;;
  esac
  key=user
  if printf %s "$1" | grep -Eq '^U[A-Z2-7]{55}$'; then
    key=nkey
  fi
  printf '  { %s = "%s", permissions = %s }\n' "$key" "$1" "$2"
}

# rules are what a kind of user may do, as the server reads it.
rules() {
  grep -v '^ *#' "$(dirname "$0")/$1.conf"
}

# flags are the same for nsc, where the name of a user stands for the node.
flags() {
  rules "$1" | awk '
    /publish/ { flag = "--allow-pub" }
    /subscribe/ { flag = "--allow-sub" }
    { while (match($0, /"[^"]*"/)) { print flag " " substr($0, RSTART + 1, RLENGTH - 2); $0 = substr($0, RSTART + RLENGTH) } }
  ' | sed 's/NODE/{{name()}}/'
}

if [ "${1-}" = -token ]; then
  shift
  for node in "$@"; do token "$node"; done
  exit
fi
if [ "${1-}" = -callout ]; then
  printf %s "${2-}" | grep -Eq '^A[A-Z2-7]{55}$' || fail "'${2-}' is no public account nkey, which begins with A"
  [ $# -gt 2 ] || fail 'no users: collectors answer the servers, and must be known without asking'
  issuer=$2
  shift 2
  printf 'authorization {\n  timeout: 10\n  auth_callout {\n    issuer: "%s"\n    account: AMBIT\n    allowed_accounts: [ AMBIT ]\n    auth_users: [\n' "$issuer"
  for argument in "$@"; do
    case $argument in
      '' | *[\"\\\$]*) fail "the name of a user, '$argument', is empty or holds a quote, \\ or \$" ;;
    esac
    printf '      "%s"\n' "$argument"
  done
  printf '    ]\n  }\n}\n'
  exit
fi
if [ "${1-}" = -role ]; then
  case ${2-} in
    agent | collector | reader) flags "$2" ;;
    *) fail "a role is agent, collector or reader" ;;
  esac
  exit
fi

kind='' pattern='' agents=0
echo '# Written by users.sh.'
echo 'users = ['
for argument in "$@"; do
  case $argument in
    -c | -r | -a)
      kind=$argument
      continue
      ;;
  esac
  case $kind in
    -c) user "$argument" "$(rules collector)" ;;
    -r) user "$argument" "$(rules reader)" ;;
    -a)
      kind=node pattern=$argument
      ;;
    node)
      agents=$((agents + 1))
      case $pattern in
        *%[nN]*) ;;
        *) [ $agents = 1 ] || fail "all agents would be one user: put %n or %N into '$pattern'" ;;
      esac
      case $argument in
        *[!A-Za-z0-9._-]*)
          case $pattern in
            *%N*) fail "the node '$argument' cannot stand in a name: use %n" ;;
          esac
          ;;
      esac
      n=$(token "$argument")
      name=$(printf %s "$pattern" | sed "s/%n/$n/g; s/%N/$argument/g")
      user "$name" "$(rules agent | sed "s/NODE/$n/g")"
      ;;
    *) fail "'$argument' is neither after -c, -r nor -a" ;;
  esac
done
echo ']'
