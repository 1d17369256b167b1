//go:build linux

package peers

import (
	"context"
	"fmt"
	"strconv"

	"github.com/warrenvpn/warren/bench/lab"
)

// warrenWireGuard is warren with a WireGuard tunnel: at both ends, or facing wireguard-go.
type warrenWireGuard struct {
	warren
	facing bool // wireguard-go at b
}

// wireGuardPort is where both ends listen.
const wireGuardPort = 51820

func (w warrenWireGuard) Name() string {
	if w.facing {
		return "warren to wireguard-go"
	}
	return "warren WireGuard"
}

func (w warrenWireGuard) Version(context.Context) (string, error) { return goVersion(w.program) }

// wireGuardConfig is one end's configuration: its outer address, private key and inner address, the other's public key, outer
// address and inner net. Both ends share the machine's file system, and so the directory of wg(8).
const wireGuardConfig = `underlay: {addresses: [%s]}
wireguard: {private_key: "%s", listen_port: %d, interface: "no"}
vrfs:
  main: {port: {tun: ` + warrenDevice + `, addresses: [%s/16]}}
tunnels:
  peer:
    wireguard: {public_key: "%s", endpoint: "%s:%d"}
    routes: [%s]
`

func (w warrenWireGuard) Up(ctx context.Context, n *Network) (string, error) {
	var keys [2]lab.WireGuardKey
	for i := range keys {
		var err error
		if keys[i], err = lab.NewWireGuardKey(); err != nil {
			return "", err
		}
	}
	a := fmt.Sprintf(wireGuardConfig, lab.PairA4, keys[0].Private, wireGuardPort, innerA, keys[1].Public, lab.PairB4, wireGuardPort, netB)
	if w.facing {
		if err := w.startPeer(ctx, n, keys); err != nil {
			return "", err
		}
	} else {
		b := fmt.Sprintf(wireGuardConfig, lab.PairB4, keys[1].Private, wireGuardPort, innerB, keys[0].Public, lab.PairA4, wireGuardPort, netA)
		if err := w.start(ctx, n, n.B, b, netA); err != nil {
			return "", err
		}
	}
	return warrenDevice, w.start(ctx, n, n.A, a, netB)
}

// startPeer runs wireguard-go at b.
func (w warrenWireGuard) startPeer(ctx context.Context, n *Network, keys [2]lab.WireGuardKey) error {
	other, err := n.B.StartWireGuard(ctx, keys[1], wireGuardPort)
	if err != nil {
		return err
	}
	if err := n.B.AddAddress(other.Device, innerB+"/16"); err != nil {
		return err
	}
	return other.AddPeer(ctx, lab.WireGuardPeer{Public: keys[0].Public, Endpoint: lab.PairA4 + ":" + strconv.Itoa(wireGuardPort), AllowedIPs: []string{netA}})
}
