//go:build linux

package lab

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
)

// WireGuardMTU is what wg-quick(8) and wireguard-go choose for an outer path MTU of 1500.
const WireGuardMTU = 1420

// WireGuardPrograms are what [Require] should be given.
var WireGuardPrograms = []string{"wireguard-go", "wg"}

// wireGuards numbers the interfaces of this process.
var wireGuards atomic.Uint32

// wireGuardBase is the base of the process id in an interface's name, which may have 15 characters.
const wireGuardBase = 36

// wireGuardSocket is where wireguard-go listens for wg(8). It goes by the interface's name and not by the namespace.
func wireGuardSocket(device string) string { return "/var/run/wireguard/" + device + ".sock" }

// WireGuardKey is a Curve25519 key pair as wg(8) writes it.
type WireGuardKey struct{ Private, Public string }

// NewWireGuardKey makes a key pair.
func NewWireGuardKey() (WireGuardKey, error) {
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return WireGuardKey{}, fmt.Errorf("generate a WireGuard key: %w", err)
	}
	text := base64.StdEncoding.EncodeToString
	return WireGuardKey{Private: text(key.Bytes()), Public: text(key.PublicKey().Bytes())}, nil
}

// WireGuardGo is a wireguard-go process with its interface.
type WireGuardGo struct {
	*Process
	Device string // the interface's name, unique on the machine
	host   *Host
}

// StartWireGuard starts wireguard-go on the host: an interface that is up, with MTU [WireGuardMTU], a key and a listening
// port, but without addresses or peers.
func (h *Host) StartWireGuard(ctx context.Context, key WireGuardKey, port int) (*WireGuardGo, error) {
	device := fmt.Sprintf("wg%sx%d", strconv.FormatInt(int64(os.Getpid()), wireGuardBase), wireGuards.Add(1))
	p, err := h.StartEnv([]string{"LOG_LEVEL=error"}, "wireguard-go", "-f", device)
	if err != nil {
		return nil, err
	}
	w := &WireGuardGo{Process: p, Device: device, host: h}
	socket := wireGuardSocket(device)
	if err := p.Wait(ctx, socket, func() error { _, err := os.Stat(socket); return err }); err != nil {
		return nil, err
	}
	_, err = h.RunInput(ctx, key.Private, "wg", "set", device, "private-key", "/dev/stdin", "listen-port", strconv.Itoa(port))
	if err != nil {
		return nil, err
	}
	return w, h.IP("link", "set", device, "mtu", strconv.Itoa(WireGuardMTU), "up")
}

// WireGuardPeer is the other end of a tunnel as one end knows it.
type WireGuardPeer struct {
	Public     string   // key
	Endpoint   string   // host:port; empty if the peer speaks first
	AllowedIPs []string // prefixes; each becomes a route to the interface
}

// AddPeer configures a peer and routes what it is allowed to have.
func (w *WireGuardGo) AddPeer(ctx context.Context, peer WireGuardPeer) error {
	args := []string{"set", w.Device, "peer", peer.Public, "allowed-ips", strings.Join(peer.AllowedIPs, ",")}
	if peer.Endpoint != "" {
		args = append(args, "endpoint", peer.Endpoint)
	}
	if _, err := w.host.Run(ctx, "wg", args...); err != nil {
		return err
	}
	for _, prefix := range peer.AllowedIPs {
		if err := w.host.IP("route", "replace", prefix, "dev", w.Device); err != nil {
			return err
		}
	}
	return nil
}

// A WireGuardEnd is one side of a tunnel to be made by [ConnectWireGuard].
type WireGuardEnd struct {
	Host    *Host
	Outer   string   // the address the other end sends to
	Inner   []string // addresses of the interface, as prefixes
	Subnets []string // what the other end may send here and routes into the tunnel
}

// ConnectWireGuard joins two hosts by a pair of wireguard-go, both on UDP port 51820.
func ConnectWireGuard(ctx context.Context, ends [2]WireGuardEnd) (tunnels [2]*WireGuardGo, err error) {
	const port = 51820
	var keys [2]WireGuardKey
	for i, end := range ends {
		if keys[i], err = NewWireGuardKey(); err != nil {
			return tunnels, err
		}
		if tunnels[i], err = end.Host.StartWireGuard(ctx, keys[i], port); err != nil {
			return tunnels, err
		}
		for _, addr := range end.Inner {
			if err := end.Host.AddAddress(tunnels[i].Device, addr); err != nil {
				return tunnels, err
			}
		}
	}
	for i := range ends {
		other := ends[1-i]
		endpoint := fmt.Sprintf("%s:%d", other.Outer, port)
		if strings.Contains(other.Outer, ":") {
			endpoint = fmt.Sprintf("[%s]:%d", other.Outer, port)
		}
		peer := WireGuardPeer{Public: keys[1-i].Public, Endpoint: endpoint, AllowedIPs: other.Subnets}
		if err := tunnels[i].AddPeer(ctx, peer); err != nil {
			return tunnels, err
		}
	}
	return tunnels, nil
}
