//go:build linux

package peers

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"

	"github.com/warrenvpn/warren/bench/lab"
)

// warren is two daemons with SAs keyed by hand.
type warren struct {
	program string // path of the daemon's binary
}

func (warren) Name() string { return "warren" }

func (w warren) Version(context.Context) (string, error) {
	version, err := goVersion(w.program)
	return version + ", aes128gcm16", err
}

// warrenDevice is the TUN device of both ends; each has its own namespace.
const warrenDevice = "warren0"

// staticKeys is one end's configuration: its outer and inner address, the other's outer address, the file of the last IV, the
// SAs out and in, and the other's inner net.
const staticKeys = `underlay: {addresses: [%s], udp_port: 4500}
vrfs:
  main: {port: {tun: ` + warrenDevice + `, addresses: [%s/16]}}
tunnels:
  peer:
    ipsec:
      remote: %s
      encap: always
      static:
        esp: aes128gcm16
        state_file: %s
        out: {%s}
        in:  {%s}
    routes: [%s]
`

// staticConfigs are the configurations of a and b, under new keys, with their files in dir.
func staticConfigs(dir string) (a, b string, err error) {
	there, err := staticSA(0xc1890b6e)
	if err != nil {
		return "", "", err
	}
	back, err := staticSA(0xcf2426b6)
	if err != nil {
		return "", "", err
	}
	a = fmt.Sprintf(staticKeys, lab.PairA4, innerA, lab.PairB4, filepath.Join(dir, "a.iv"), there, back, netB)
	b = fmt.Sprintf(staticKeys, lab.PairB4, innerB, lab.PairA4, filepath.Join(dir, "b.iv"), back, there, netA)
	return a, b, nil
}

// staticSA is one direction: SPI and key as the configuration writes them.
func staticSA(spi uint32) (string, error) {
	var key [16 + 4]byte // AES-128 and the salt of RFC 4106
	if _, err := rand.Read(key[:]); err != nil {
		return "", fmt.Errorf("generate an ESP key: %w", err)
	}
	return fmt.Sprintf(`spi: %#08x, key: "%#x"`, spi, key), nil
}

func (w warren) Up(ctx context.Context, n *Network) (string, error) {
	configA, configB, err := staticConfigs(n.Dir())
	if err != nil {
		return "", err
	}
	if err := w.start(ctx, n, n.A, configA, netB); err != nil {
		return "", err
	}
	return warrenDevice, w.start(ctx, n, n.B, configB, netA)
}

// start runs one daemon and leads the other end's net to its device.
func (w warren) start(ctx context.Context, n *Network, h *lab.Host, config, remotePrefix string) error {
	file := filepath.Join(n.Dir(), h.Name+".yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return fmt.Errorf("write the configuration of host %s: %w", h.Name, err)
	}
	// Both daemons share the machine's file system, so each needs a control socket of its own.
	daemon, err := h.Start(w.program, "run", "--socket", filepath.Join(n.Dir(), h.Name+".sock"), file)
	if err != nil {
		return err
	}
	return daemon.Wait(ctx, "the device of warren", func() error {
		return h.IP("route", "replace", remotePrefix, "dev", warrenDevice)
	})
}
