//go:build linux

package peers

import (
	"context"

	"github.com/warrenvpn/warren/bench/lab"
)

// wireGuardGo is wireguard-go at both ends, as wg-quick(8) would set it up.
type wireGuardGo struct{}

func (wireGuardGo) Name() string { return "wireguard-go" }

func (wireGuardGo) Version(context.Context) (string, error) {
	path, err := lab.Look("wireguard-go")
	if err != nil {
		return "", err
	}
	return goVersion(path)
}

func (wireGuardGo) Up(ctx context.Context, n *Network) (string, error) {
	tunnels, err := lab.ConnectWireGuard(ctx, [2]lab.WireGuardEnd{
		{Host: n.A, Outer: lab.PairA4, Inner: []string{innerA + "/16"}, Subnets: []string{netA}},
		{Host: n.B, Outer: lab.PairB4, Inner: []string{innerB + "/16"}, Subnets: []string{netB}},
	})
	if err != nil {
		return "", err
	}
	return tunnels[0].Device, nil
}
