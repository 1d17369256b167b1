//go:build linux

package peers

import (
	"context"
	"fmt"
	"os/exec"
	"strings"

	"github.com/warrenvpn/warren/bench/lab"
)

// strongSwan is charon with its userspace ESP at both ends, keyed by IKEv2.
type strongSwan struct{}

func (strongSwan) Name() string { return "strongswan" }

func (strongSwan) Version(ctx context.Context) (string, error) {
	path, err := lab.Look("swanctl")
	if err != nil {
		return "", err
	}
	// Its usage begins with "strongSwan 5.9.8 swanctl"; the commands that print a version ask a running daemon for it.
	out, err := exec.CommandContext(ctx, path, "--help").CombinedOutput()
	fields := strings.Fields(string(out))
	if len(fields) < 2 {
		return "", fmt.Errorf("ask swanctl for its version: %w", err)
	}
	return fields[1] + ", kernel-libipsec, aes128gcm16", nil
}

// swanctlEnd is one end's swanctl.conf: local and remote outer address, identity and net. The suite is the one that warren
// is measured with.
const swanctlEnd = `connections { t {
  version = 2
  local_addrs = %[1]s
  remote_addrs = %[2]s
  encap = yes
  proposals = aes128gcm16-prfsha256-ecp256
  local { auth = psk
    id = %[3]s.example }
  remote { auth = psk
    id = %[4]s.example }
  children { c {
    local_ts = %[5]s
    remote_ts = %[6]s
    esp_proposals = aes128gcm16 } } } }
secrets { ike-t { secret = "a key for benchmarks" } }
`

func (strongSwan) Up(ctx context.Context, n *Network) (string, error) {
	// Where nothing else has the inner address, charon's route to the tunnel needs it on the loopback.
	if err := n.A.AddAddress("lo", innerA+"/32"); err != nil {
		return "", err
	}
	if err := n.B.AddAddress("lo", innerB+"/32"); err != nil {
		return "", err
	}
	a, err := n.A.StartStrongSwan(ctx, fmt.Sprintf(swanctlEnd, lab.PairA4, lab.PairB4, "a", "b", netA, netB))
	if err != nil {
		return "", err
	}
	if _, err := n.B.StartStrongSwan(ctx, fmt.Sprintf(swanctlEnd, lab.PairB4, lab.PairA4, "b", "a", netB, netA)); err != nil {
		return "", err
	}
	return "ipsec0", a.Initiate(ctx, "c")
}
