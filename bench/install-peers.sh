#!/usr/bin/env bash
# Makes the programs that tests and benchmarks use available: Debian's packages, and the WireGuard peer built at the version
# that go.mod names (Debian's own is years older and several times slower).
#
# As root it installs what is missing. As an ordinary user it says what is missing and goes on: the tests that need it skip.
# Idempotent; without anything to do it needs no network.
set -euo pipefail
cd "$(dirname "$0")/.."

# gcc and libc6-dev are for the race detector, which needs cgo.
packages=(
  strongswan-swanctl charon-systemd libcharon-extra-plugins libstrongswan-extra-plugins libstrongswan-standard-plugins
  bird2 frr gobgpd openbgpd exabgp
  wireguard-tools iperf3 tcpdump tshark iproute2 iputils-ping ethtool python3-scapy python3-cryptography openssl
  gcc libc6-dev
)

install_packages() {
  if ! command -v dpkg-query >/dev/null; then
    echo "peers: this is no Debian; install what these packages contain: ${packages[*]}"
    return
  fi
  local missing=()
  for p in "${packages[@]}"; do
    dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'install ok installed' || missing+=("$p")
  done
  if ((${#missing[@]} == 0)); then
    echo "peers: every Debian package is installed"
  elif ((EUID == 0)); then
    echo "peers: installing ${missing[*]}"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
  else
    echo "peers: missing, and only root can install it: ${missing[*]}"
    echo "peers: tests that need it will skip; to run them: sudo apt-get install ${missing[*]}"
  fi
}

build_wireguard_go() {
  mkdir -p bin
  go build -o bin/wireguard-go golang.zx2c4.com/wireguard
  echo "peers: bin/wireguard-go is $(go list -m -f '{{.Version}}' golang.zx2c4.com/wireguard)"
}

install_packages
build_wireguard_go
